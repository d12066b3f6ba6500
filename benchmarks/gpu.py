"""The same questions on a GPU. `run.py` calls `bench` where CUDA is available.

Also a program by itself: `python benchmarks/gpu.py`. Needs this repository and what it installs, no photos. What compiles comes last, so that
whoever has little time can end it there. `--smoke` tries all but that at a tiny size, on a CPU too, and says nothing about speed.
**Nobody has run it on a GPU yet**: none could be had where the project was made. Nothing here has a target but the one the paper gives, 210 ms at 512x512.
"""
import math, statistics, sys, time, warnings
from collections import Counter
from pathlib import Path
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import torch
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from cases import HOLE, begin_fit, masks, ready_learner
from gla_inpaint.generator import Inpainter

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
WAYS = {'float32': {}, 'bfloat16': dict(bf16=True), 'bfloat16, compiled': dict(bf16=True, compile=True)}


def settled():
    "Wait until the device has done all that it was given."
    if DEVICE == 'cuda': torch.cuda.synchronize()


def timed(
    f, # function of the number of the call
    n:int=20, # times, after three that do not count
)->list: # seconds of each
    "Times by the clock on the wall, each from a device that has nothing to do."
    took = []
    for i in range(n+3):
        settled()
        start = time.perf_counter()
        f(i)
        settled()
        took.append(time.perf_counter()-start)
    return took[3:]


def rate(
    f, # function of the number of the call
    n:int=20, # times, after three that do not count
)->float: # calls a second
    "How many calls a second, one after the other without waiting."
    for i in range(3): f(i)
    settled()
    start = time.perf_counter()
    for i in range(3, n+3): f(i)
    settled()
    return n/(time.perf_counter()-start)


def card_rate(
    dtype:torch.dtype, # of the matrices
    n:int=8192, # side of the matrices
)->float: # operations a second
    "How fast this card multiplies matrices."
    a,b = torch.randn(2, n, n, device=DEVICE).to(dtype)
    return 2*n**3/min(timed(lambda i: a@b))


class HostReads(TorchFunctionMode):
    "Counts what makes the CPU wait for a GPU: each look at a number that a tensor holds. Reads the calls, so it counts on a CPU too."
    LOOKS = 'item tolist nonzero __bool__ __int__ __float__ __index__ cpu numpy'.split()
    def __init__(self): super().__init__(); self.seen = Counter()
    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, '__name__', '')
        if name in self.LOOKS: self.seen[name] += 1
        return func(*args, **(kwargs or {}))


def host_waits(
    step, # function of the number of the call
)->tuple: # as PyTorch reports them on a GPU, else nan; the calls that `HostReads` has seen
    "How often the CPU waits for the device in one step."
    with HostReads() as reads: step(0)
    if DEVICE == 'cpu': return math.nan,reads.seen
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            step(1)
    finally: torch.cuda.set_sync_debug_mode('default')
    return sum('synchron' in str(w.message) for w in said),reads.seen


def training_step(
    drawn:torch.Tensor, # masks [N,1,H,W] on the device, bs of them for each step
    bs:int, # photos in a batch
    **learner, # for `ready_learner`
): # function of the number of the step
    "A step of the learner that `gla_train` runs: both networks, losses, checks, optimizers. Each step has new masks, as in training."
    learn = ready_learner(drawn.shape[-1], bs, DEVICE, **learner)
    truth = (torch.rand(bs, 3, *drawn.shape[-2:])*2-1).to(DEVICE)
    begin_fit(learn)
    def step(i):
        mask = drawn[i*bs:(i+1)*bs]
        learn.one_batch(i, (truth*mask, mask, truth))
    return step


def training(row, rates, ways, size, batches, width):
    "Images a second, the slowest step, the memory, and the share of the card's rate."
    drawn = masks(max(2*bs*(n+3) for bs,n in batches.items()), (size,size)).to(DEVICE)
    for bs,n in batches.items():
        for name,how in ways.items():
            group = f'GPU training {size}x{size}, batch {bs}'
            try:
                step = training_step(drawn, bs, width=width, **how)
                speed = bs*rate(step, n)
                took = timed(lambda i: step(n+3+i), n)      # masks that no kernel has seen yet
                if DEVICE == 'cuda': torch.cuda.reset_peak_memory_stats()
                step(0)
                gb = torch.cuda.max_memory_allocated()/2**30 if DEVICE == 'cuda' else math.nan
                row(group, f'images a second, {name}', speed, '', gb=round(gb, 2))
                row(group, f'slowest to median step, {name}', max(took)/statistics.median(took), 'x')
                if 'compile' in how: continue
                waits,reads = host_waits(step)
                row(group, f'numbers read in a step, {name}', reads.total(), '', waits=waits, **reads)
                with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter: step(0)
                row(group, f'share of the matrix rate, {name}', counter.get_total_flops()*speed/bs/rates['bf16' in how], '')
            # one that fails leaves the rest to run
            except Exception as e: print(f'{group}, {name}: {type(e).__name__}: {e}')


def inference(row, ways, size, n, width):
    "Milliseconds for a photo, beside the paper's 210 at 512x512."
    net,x = Inpainter(width).to(DEVICE).eval(),(torch.rand(1, 3, size, size)*2-1).to(DEVICE)
    drawn = masks(n+3, (size,size)).to(DEVICE)
    for name,how in ways.items():
        run,cast = torch.compile(net) if 'compile' in how else net,torch.autocast(DEVICE, torch.bfloat16, enabled='bf16' in how)
        try:
            with torch.inference_mode(), cast: ms = 1e3*statistics.median(timed(lambda i: run(x, drawn[i:i+1]), n))
            row(f'GPU generator {size}x{size}', f'milliseconds, {name}', ms, 'ms', 210 if size == 512 else None, least=False)
        except Exception as e: print(f'inference, {name}: {type(e).__name__}: {e}')


def pipeline(row, n):
    "What one process of the data pipeline delivers: decoding a JPEG, cropping and converting it, and drawing its hole, each by itself."
    import io
    import numpy as np
    from PIL import Image
    from gla_inpaint.data import crop_photo, to_tensor
    from gla_inpaint.masks import hole_of_ratio
    file = io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).resize((640, 480), Image.BICUBIC)
    noise.save(file, 'JPEG', quality=90)
    def decode(i): return Image.open(io.BytesIO(file.getvalue())).convert('RGB')
    def crop(i): return to_tensor(crop_photo(noise, (256, 256), np.random.default_rng(i)))
    def hole(i): return hole_of_ratio((256, 256), HOLE, i)
    for name,f in (('decode 640x480', decode), ('crop', crop), ('hole by ratio', hole)):
        start = time.perf_counter()
        for i in range(n): f(i)
        row('GPU data pipeline, one process', f'{name}, a second', n/(time.perf_counter()-start), '')


def bench(
    row, # `run.row`
    smoke:bool=False, # only to see whether it starts
):
    "All of it. Divide a batch's images a second by a process's, and you know how many processes keep the card busy."
    # batches: how many steps are timed of each
    side,size,photo,batches,n,width = (64, 32, 48, {2: 2}, 2, 4) if smoke else (8192, 256, 512, {4: 20, 64: 5}, 20, 32)
    rates = {bf16: card_rate(dtype, side) for bf16,dtype in ((False, torch.float32), (True, torch.bfloat16))}
    for bf16,r in rates.items(): row('GPU matrix products', 'bfloat16' if bf16 else 'float32', r/1e12, 'TFLOP/s')
    pipeline(row, 10*n)
    plain,compiled = ({k: v for k,v in WAYS.items() if ('compile' in v) == c} for c in (False, True))
    for ways in (plain, {} if smoke else compiled):
        inference(row, ways, photo, n, width)
        training(row, rates, ways, size, batches, width)


def say(group, what, value, unit, target=None, least=True, **more):
    print(f'{group:34} {what:36} {value:10.4g} {unit}', more or '', flush=True)


if __name__ == '__main__':
    smoke = '--smoke' in sys.argv[1:]
    if DEVICE == 'cpu' and not smoke: sys.exit('no GPU that torch can use; --smoke tries the code on a CPU')
    print(torch.cuda.get_device_name() if DEVICE == 'cuda' else 'CPU', 'torch', torch.__version__)
    bench(say, smoke)
