"The fast modules are the equations as printed: against benchmarks/naive.py, at sizes and holes that a notebook does not show."
import math, sys
from functools import partial
from pathlib import Path
import pytest, torch
from safetensors.torch import load_file
import gla_inpaint
from gla_inpaint import gla, mpga
from gla_inpaint.generator import Inpainter
from gla_inpaint.gla import GLA
from gla_inpaint.mpga import MPGA
sys.path.insert(0, str(Path(__file__).parents[1]/'benchmarks'))
import gpu
from naive import naive_of


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def holes(b, h, w, kind):
    "Masks [B,1,H,W]: drawn at random, none, all, or a batch of all three."
    drawn = (torch.rand(b, 1, h, w) > .4).double()
    mixed = torch.cat([torch.ones(1, 1, h, w), torch.zeros(1, 1, h, w), drawn[:1]])[:b]
    return dict(drawn=drawn, none=torch.ones(b, 1, h, w), all=torch.zeros(b, 1, h, w), mixed=mixed)[kind].double()


def both(net, x, m):
    "Largest differences to the naive reading: of values, and of gradients relative to the largest."
    slow,found = naive_of(net),[]
    for n in (net, slow):
        inp = x.clone().requires_grad_()
        out = n(inp, m)
        outs = out if isinstance(out, tuple) else (out,)
        loss = sum((o*torch.linspace(-1, 1, o.numel()).to(o).view(o.shape)).sum() for o in outs)
        found.append((outs, torch.autograd.grad(loss, [inp, *n.parameters()], allow_unused=True)))
    (a,ga),(b,gb) = found
    values = max((p-q).abs().max().item() for p,q in zip(a, b))
    gap = lambda p, q: 0. if p is None and q is None else (p-q).abs().max().item()/max(1., q.abs().max().item())
    return values,max(gap(p, q) for p,q in zip(ga, gb))


@pytest.mark.parametrize('kind', ['drawn', 'none', 'all', 'mixed'])
@pytest.mark.parametrize('prune', ['multiply', 'exclude'])
@pytest.mark.parametrize('size', [(9, 14), (16, 16), (7, 3)])
def test_modules_equal_naive(kind, prune, size):
    torch.manual_seed(0)
    psi,m = torch.randn(3, 8, *size).double(),holes(3, *size, kind)
    nets = [MPGA(8, prune), GLA(8, prune=prune), GLA(8, rate=1, prune=prune), GLA(8, patch=5, rate=3, prune=prune), GLA(8, patch=1, prune=prune)]
    for net in nets:
        values,grads = both(net.double(), psi, m)
        assert values < 1e-12 and grads < 1e-10, type(net).__name__


def test_float32():
    torch.manual_seed(0)
    psi,m = torch.randn(2, 32, 24, 20),holes(2, 24, 20, 'drawn').float()
    for net in (MPGA(32), GLA(32)): assert max(both(net, psi, m)) < 1e-5


@pytest.mark.parametrize('kind', ['drawn', 'none', 'all'])
def test_generator_equals_naive(kind):
    torch.manual_seed(0)
    net = Inpainter(8).double()
    values,grads = both(net, torch.rand(2, 3, 37, 50).double()*2-1, holes(2, 37, 50, kind))
    assert values < 1e-12 and grads < 1e-9


def test_shipped_weights_give_the_naive_picture():
    state = load_file(Path(gla_inpaint.__path__[0])/'weights'/'default.safetensors')
    net = Inpainter(len(state['coarse.regular.0.0.weight']))
    net.load_state_dict({k: v.float() for k,v in state.items()})
    torch.manual_seed(0)
    x,m = torch.rand(1, 3, 64, 80)*2-1,holes(1, 64, 80, 'drawn').float()
    with torch.inference_mode():
        for a,b in zip(net(x, m), naive_of(net)(x, m)): assert (a-b).abs().max() < 1e-5


@pytest.mark.parametrize('scores', [1, 300, 2**22])
def test_rows_at_a_time(scores, monkeypatch):
    monkeypatch.setattr(gla, 'AT_ONCE', scores)
    torch.manual_seed(0)
    values,grads = both(GLA(8).double(), torch.randn(2, 8, 12, 10).double(), holes(2, 12, 10, 'drawn'))
    assert values < 1e-12 and grads < 1e-10


@pytest.mark.parametrize('threads', [1, 2, 3, 8])
def test_rows_dealt_to_heads(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    psi = torch.randn(1, 8, 40, 41).double()
    values,grads = both(MPGA(8).double(), psi, torch.zeros(1, 1, 40, 41).double())
    assert values < 1e-12 and grads < 1e-10


@pytest.mark.parametrize('kind', ['drawn', 'none', 'all', 'mixed'])
@pytest.mark.parametrize('prune', ['multiply', 'exclude'])
def test_lengths_rounded_up_as_on_a_gpu_change_nothing(kind, prune, monkeypatch):
    monkeypatch.setattr(mpga, 'pruned_attention', partial(mpga.pruned_attention, step=16))
    torch.manual_seed(0)
    for net in (MPGA(8, prune), GLA(8, prune=prune)):
        values,grads = both(net.double(), torch.randn(3, 8, 12, 10).double(), holes(3, 12, 10, kind))
        assert values < 1e-12 and grads < 1e-10


def test_holes_drawn_at_random_have_few_lengths_on_a_gpu(monkeypatch):
    "A kernel that plans for each shape it meets must meet few."
    seen = {16: set(), 1: set()}
    real = mpga.counted_attention
    for step,shapes in seen.items():
        monkeypatch.setattr(mpga, 'counted_attention', lambda q, k, *args: shapes.add((q.shape[1], k.shape[1])) or real(q, k, *args))
        torch.manual_seed(0)
        for _ in range(30):
            m = (torch.rand(2, 256, 1) > .2+.3*torch.rand(1)).float()
            mpga.pruned_attention(torch.randn(2, 256, 4), m, m[...,0] == 0, (torch.nn.Conv2d(4, 4, 1),)*3, step=step)
    assert len(seen[16]) < len(seen[1])/2 and all(q%16 == 0 and (k%16 == 0 or k == 257) for q,k in seen[16])


def test_the_device_is_asked_once_for_rows_and_keys():
    psi,m = torch.randn(2, 4, 8, 8),holes(2, 8, 8, 'drawn').float()
    with gpu.HostReads() as reads: MPGA(4)(psi, m)
    assert reads.seen == {'tolist': 1}


def test_the_benchmark_for_a_gpu_starts_on_a_cpu(capsys):
    rows = {}
    gpu.bench(lambda group, what, value, unit, target=None, least=True, **more: rows.update({what: value}), smoke=True)
    assert capsys.readouterr().out == '', 'where a part fails it is named'
    for name in ('float32', 'bfloat16'): assert {f'images a second, {name}', f'numbers read in a step, {name}', f'milliseconds, {name}'} <= rows.keys()
    assert all(math.isfinite(v) and v > 0 for v in rows.values())


def test_each_step_of_the_gpu_benchmark_has_masks_of_its_own(monkeypatch):
    drawn,made,used = gpu.masks(6, (32,32)).to(gpu.DEVICE),[],[]
    ready = gpu.ready_learner
    monkeypatch.setattr(gpu, 'ready_learner', lambda *args, **kwargs: made.append(ready(*args, **kwargs)) or made[-1])
    step = gpu.training_step(drawn, 2, width=4, adversarial=False)
    for i in range(3):
        step(i)
        used.append(made[0].xb[1])
    assert torch.equal(torch.cat(used), drawn) and len({m.sum().item() for m in used}) == 3


def test_no_matrix_of_scores_is_kept_for_the_backward_pass():
    torch.manual_seed(0)
    side = 64
    psi,m = torch.randn(1, 4, side, side, requires_grad=True),holes(1, side, side, 'drawn').float()
    for net,n in ((MPGA(4), side**2), (GLA(4), side**2//4)):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t): net(psi, m).sum()
        assert max(sizes) < n*n/2, 'something with the square of the pixels is kept'


def test_bfloat16_keeps_working():
    torch.manual_seed(0)
    net,x,m = Inpainter(8),torch.rand(2, 3, 48, 40)*2-1,holes(2, 48, 40, 'mixed').float()
    with torch.no_grad(): exact = net(x, m)
    with torch.autocast('cpu', torch.bfloat16): outs = net(x, m)
    sum(o.float().square().mean() for o in outs).backward()
    for a,b in zip(outs, exact): assert (a.float()-b).abs().mean() < .02
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_torch_compile_is_possible():
    torch.manual_seed(0)
    net,x,m = Inpainter(4),torch.rand(1, 3, 32, 32)*2-1,holes(1, 32, 32, 'drawn').float()
    compiled = torch.compile(net, backend='aot_eager')
    for a,b in zip(compiled(x, m), net(x, m)): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    compiled(x, m)[1].mean().backward()
