"""What each idea is worth by itself, those that did not pay among them: `python benchmarks/ideas.py`, about three minutes.

Times are one core's own time, by turns, the least of several. Writes results/ideas.json, which nbs/paper/speed.ipynb shows.
"""
import json, os, sys, time
from pathlib import Path
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ['OMP_NUM_THREADS'] = '1'
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from cases import masks
from measure import alternate, machine
from naive import naive_of
from gla_inpaint.generator import Inpainter, UpConv2d
from gla_inpaint.gla import patch_pixels, products, take_patches, unit
from gla_inpaint.mpga import MPGA, counted_attention

ideas = []


def note(
    about:str, # the question
    runs:dict, # name: function; the first is what the others are compared with
    comment:str='', # what to know about it
    seconds:float=4.,
):
    "Time by turns, and say it."
    times = {k: 1e3*min(t) for k,t in alternate(runs, seconds, clock=time.process_time).items()}
    first = next(iter(times.values()))
    ideas.append(dict(about=about, comment=comment, rows=[dict(name=k, ms=round(t, 2), ratio=round(first/t, 2)) for k,t in times.items()]))
    print(about, '|', ', '.join(f'{k} {t:.1f} ms ({first/t:.2f}x)' for k,t in times.items()), flush=True)


def no_grad(f):
    "`f` without gradients."
    def run():
        with torch.no_grad(): return f()
    return run


def with_grad(f, *wrt):
    "`f` and its backward pass."
    wrt = [t.detach().clone().requires_grad_() for t in wrt]
    g = torch.randn_like(f(*wrt).detach())
    return lambda: torch.autograd.grad(f(*wrt), wrt, g)


def global_attention(side):
    "Eq. 1-5 step by step."
    net,psi,m = MPGA(128),torch.randn(1, 128, side, side),masks(1, (side, side))
    slow,hole = naive_of(net),m.flatten() == 0
    def rows_keys(rows, one_key):
        x = psi.flatten(2).mT
        q,k,v = (F.linear(x, o.weight.flatten(1), o.bias) for o in (net.omega1, net.omega2, net.omega3))
        if rows: q = q[:,hole]
        if one_key: k,v,count = k[:,~hole],v[:,~hole],torch.ones(1, int((~hole).sum()))
        else: k,count = k*m.flatten(2).mT,torch.ones(1, side*side)
        return counted_attention(q, k, v, count)
    note(f'MPGA {side}x{side}, forward', {
        'as printed': no_grad(lambda: slow(psi, m)), 'one fused call': no_grad(lambda: rows_keys(False, False)),
        'hole rows only': no_grad(lambda: rows_keys(True, False)), 'one key for the hole': no_grad(lambda: net(psi, m))}, seconds=6)


def backward_kernels():
    "Rows times keys of a 128x128 map, forward and backward."
    n,h = 128*128,.25
    q,k,v = (.3*torch.randn(1, int(s*n), 128) for s in (h, 1-h, 1-h))  # scores near 1: larger ones underflow, and such numbers are slow
    count = torch.ones(1, k.shape[1])
    def some(q, k, v): return (q @ k.mT).softmax(-1) @ v
    def chunks(q, k, v): return torch.cat([checkpoint(some, c, k, v, use_reentrant=False, preserve_rng_state=False) for c in q.split(256, 1)], 1)
    note('attention of 4096 rows to 12288 keys, forward and backward', {
        'whole matrix': with_grad(some, q, k, v), 'chunks of rows, computed again': with_grad(chunks, q, k, v),
        'fused kernel': with_grad(lambda *t: counted_attention(*t, count), q, k, v)},
        'The fused kernel gives a core whole heads in its backward pass; with one head, a second core has nothing to do. Dealing the rows to heads keeps it busy.')


def moving():
    "Cutting and laying 4x4 patches, two pixels apart."
    x = torch.randn(1, 66, 66, 128)
    idx = patch_pixels(x, 1, 4, 2)
    p = take_patches(x, idx)
    def views(x): return x.unfold(1, 4, 2).unfold(2, 4, 2).permute(0,1,2,4,5,3).reshape(p.shape)
    def im2col(x): return F.unfold(x.permute(0,3,1,2).contiguous(), 4, stride=2).unflatten(1, (128,16)).permute(0,3,2,1).contiguous()
    note('cut the patches of a 64x64 map, forward and backward', {'F.unfold': with_grad(im2col, x), 'strided views': with_grad(views, x),
         'index_select': with_grad(lambda x: take_patches(x, idx), x)})
    def fold(p): return F.fold(p.permute(0,3,2,1).flatten(1, 2), (66,66), 4, stride=2)
    def add(p): return torch.zeros(66*66, 128).index_add(0, idx.flatten(), p.view(-1, 128))
    note('lay them down, forward and backward', {'F.fold': with_grad(fold, p), 'index_add': with_grad(add, p)})


def matching():
    "Scores of 1024 places and 1024 candidates with 1152 channels."
    q,k,v = (unit(torch.randn(1, 1024, 1, 1152))[:,None] for _ in range(3))
    note('match and mix 1024 places, 1152 channels', {'plain products': no_grad(lambda: (10*q @ k.mT).softmax(-1) @ v),
         'fused attention': no_grad(lambda: F.scaled_dot_product_attention(q, k, v, scale=10.))})
    side = 32
    a,b = (torch.randn(1, side+2, side+2, 128) for _ in range(2))
    idx = patch_pixels(a, 1, 3, 1)
    def direct(): return products(take_patches(a, idx).flatten(2), take_patches(b, idx).flatten(2))
    def gram():
        g = (a.flatten(1, 2) @ b.flatten(1, 2).mT).view(side+2, side+2, side+2, side+2)
        return sum(g[y:y+side,x:x+side,y:y+side,x:x+side] for y in range(3) for x in range(3)).reshape(1, side**2, side**2)
    assert torch.allclose(direct(), gram(), atol=1e-2)
    note('scores of all pairs of 3x3 patches, 32x32 places', {'product of patches': no_grad(direct), 'sums over the matrix of pixels': no_grad(gram)},
         'A ninth of the multiplications, but nine passes over a matrix. And it holds only for patches without a hole, the others would need the product as well. Not used.')


def doubling():
    "Nearest neighbour times 2 and a 3x3 convolution, 64 to 32 channels at 128x128."
    conv,up = nn.Conv2d(64, 32, 3, padding=1),UpConv2d(64, 32, 3, padding=1)
    x = torch.randn(1, 64, 128, 128)
    last = x.to(memory_format=torch.channels_last)
    from gla_inpaint.generator import double_taps
    def two(x): return conv(F.interpolate(x, scale_factor=2, mode='nearest'))
    def shuffled(x):
        w,kernel = double_taps(double_taps(up.weight, 2), 3),conv.weight.new_zeros(32, 4, 64, 3, 3)
        taps = {0: {0: 3, 1: 1}, 1: {1: 2, 2: 0}}
        for a in (0, 1):
            for b in (0, 1):
                for y,i in taps[a].items():
                    for z,j in taps[b].items(): kernel[:,2*a+b,:,y,z] = w[:,:,i,j]
        return F.pixel_shuffle(F.conv2d(x, kernel.flatten(0, 1), up.bias.repeat_interleave(4), padding=1), 2)
    forms = {'two steps': (two, x), 'two steps, channels last': (two, last), 'four convolutions and pixel shuffle, channels last': (shuffled, last),
             'one step': (up, x), 'one step, channels last': (up, last)}
    note('double and convolve, forward', {k: no_grad(lambda f=f, x=x: f(x)) for k,(f,x) in forms.items()})
    note('double and convolve, forward and backward', {k: with_grad(f, x) for k,(f,x) in forms.items()})


def whole():
    "The generator at 256x256: layout, sharing, lower precision."
    class Contiguous(Inpainter):
        def pad(self, x): return super().pad(x).contiguous()
    torch.manual_seed(0)
    net,x,m = Inpainter().eval(),torch.rand(1, 3, 256, 256)*2-1,masks(1, (256, 256))
    other = Contiguous().eval()
    other.load_state_dict(net.state_dict())
    note('generator 256x256, memory layout of the input', {'contiguous': no_grad(lambda: other(x, m)), 'channels last': no_grad(lambda: net(x, m))},
         'The attention modules give channels last in any case, so the decoder, where it counts, has it either way.')
    a,b,both = (nn.Conv2d(4, c, 5, padding=2) for c in (32, 32, 64))
    inp = torch.randn(1, 4, 256, 256).to(memory_format=torch.channels_last)
    note('first layers of the two branches', {'one after the other': no_grad(lambda: (a(inp), b(inp))), 'as one of 64 channels': no_grad(lambda: both(inp).chunk(2, 1))},
         'Less than a hundredth of the generator either way. Not used.')
    def half():
        with torch.autocast('cpu', torch.bfloat16): return net(x, m)
    with torch.no_grad(): gap = (half()[1].float()-net(x, m)[1]).abs().max().item()
    note('generator 256x256, precision', {'float32': no_grad(lambda: net(x, m)), 'bfloat16 autocast': no_grad(half)},
         f'Not the same numbers: the largest difference is {gap:.3f} on [-1,1]. The caller may choose it; we do not.')


if __name__ == '__main__':
    torch.set_num_threads(1)
    for side in (64, 128): global_attention(side)
    for f in (backward_kernels, moving, matching, doubling, whole): f()
    (HERE/'results'/'ideas.json').write_text(json.dumps(dict(**machine(), threads=1, ideas=ideas), indent=1)+'\n')
