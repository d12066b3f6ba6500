"""The same questions on a GPU. `run.py` calls `bench` where CUDA is available.

Also a program by itself: `python benchmarks/gpu.py`. Needs this repository, torch, numpy and pillow, no photos. **Nobody has run it yet**: no GPU could be had
where the project was made. Nothing here has a target but the one the paper gives, 210 ms at 512x512.
"""
import statistics, sys, time
from contextlib import nullcontext
from pathlib import Path
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
import torch
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.utils.flop_counter import FlopCounterMode
from cases import HOLE, masks
from gla_inpaint.discriminator import Discriminator
from gla_inpaint.generator import Inpainter, composite
try: from gla_inpaint.losses import discriminator_loss, generator_loss, reconstruction_loss
except ImportError as e: # a bare machine, without torchmetrics: losses of about the same cost, but for SSIM
    print(f'{e}: L1 alone and plain hinge losses instead')
    def reconstruction_loss(coarse, refined, truth): return (coarse-truth).abs().mean() + (refined-truth).abs().mean()
    def discriminator_loss(real, fake): return (1-real).relu().mean() + (1+fake).relu().mean()
    def generator_loss(real, fake): return discriminator_loss(fake, real)


def timed(
    f, # function without arguments
    n:int=20, # times, after three that do not count
)->list: # seconds of each
    "Times by the card's own clock."
    for _ in range(3): f()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(n)]
    for start,end in marks: start.record(); f(); end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end)/1e3 for start,end in marks]


def card_rate(
    dtype:torch.dtype, # of the matrices
    n:int=8192, # side of the matrices
)->float: # operations a second
    "How fast this card multiplies matrices."
    a,b = torch.randn(2, n, n, device='cuda').to(dtype)
    return 2*n**3/min(timed(lambda: a@b))


def training_step(
    bs:int, # photos in a batch
    bf16:bool, # in bfloat16
    compiled:bool, # through torch.compile
    size:int=256, # of the photos
): # function without arguments: a step of both networks
    "What a step of `get_learner` computes, without fastai around it: eq. 13, 19 and 20."
    torch.manual_seed(0)
    net,rival = Inpainter().cuda().to(memory_format=torch.channels_last),Discriminator(64).cuda()
    truth,mask = (torch.rand(bs, 3, size, size)*2-1).cuda(),masks(bs, (size, size)).cuda()
    opts = [torch.optim.Adam(m.parameters(), lr=1e-4, betas=(.5,.9), fused=True) for m in (net, rival)]
    both = lambda t, f: rival(torch.cat([t, f])).float().chunk(2)
    run,judge = (torch.compile(f) for f in (net, both)) if compiled else (net, both)
    cast = (lambda: torch.autocast('cuda', torch.bfloat16)) if bf16 else nullcontext
    def step():
        with cast():
            coarse,refined = run(truth*mask, mask)
            fake = composite(refined, truth, mask)
            d = discriminator_loss(*judge(truth, fake.detach()))
        d.backward(); opts[1].step(); opts[1].zero_grad()
        rival.requires_grad_(False)
        with cast(): g = reconstruction_loss(coarse, refined, truth) + generator_loss(*judge(truth, fake))
        g.backward(); opts[0].step(); opts[0].zero_grad()
        rival.requires_grad_(True)
    return step


def training(row, rates):
    "Images a second for batches of 4 and 64, and the share of the card's rate."
    for bs in (4, 64):
        for name,bf16,compiled in (('float32', False, False), ('bfloat16', True, False), ('bfloat16, compiled', True, True)):
            group = f'GPU training 256x256, batch {bs}'
            try:
                step = training_step(bs, bf16, compiled)
                seconds = statistics.median(timed(step))
                torch.cuda.reset_peak_memory_stats()
                step()
                row(group, f'images a second, {name}', bs/seconds, '', gb=round(torch.cuda.max_memory_allocated()/2**30, 2))
                if compiled: continue
                with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter: step()
                row(group, f'share of the matrix rate, {name}', counter.get_total_flops()/seconds/rates[bf16], '')
            except Exception as e: print(f'{group}, {name}: {type(e).__name__}: {e}')   # one that fails leaves the rest to run


def inference(row):
    "Milliseconds for a photo of 512x512, beside the paper's 210."
    net,x,m = Inpainter().cuda().eval(),(torch.rand(1, 3, 512, 512)*2-1).cuda(),masks(1, (512, 512)).cuda()
    for name,bf16,compiled in (('float32', False, False), ('bfloat16', True, False), ('bfloat16, compiled', True, True)):
        run,cast = torch.compile(net) if compiled else net,torch.autocast('cuda', torch.bfloat16, enabled=bf16)
        try:
            with torch.inference_mode(), cast: ms = 1e3*statistics.median(timed(lambda: run(x, m)))
            row('GPU generator 512x512', f'milliseconds, {name}', ms, 'ms', 210, least=False)
        except Exception as e: print(f'inference, {name}: {type(e).__name__}: {e}')


def pipeline(row):
    "What one process of the data pipeline delivers: decoding a JPEG, cropping and converting it, and drawing its hole, each by itself."
    import io
    import numpy as np
    from PIL import Image
    try: from gla_inpaint.data import crop_photo, to_tensor
    except ImportError as e: return print(f'data pipeline not measured: {e}')
    from gla_inpaint.masks import hole_of_ratio
    file = io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).resize((640, 480), Image.BICUBIC)
    noise.save(file, 'JPEG', quality=90)
    def decode(i): return Image.open(io.BytesIO(file.getvalue())).convert('RGB')
    def crop(i): return to_tensor(crop_photo(noise, (256, 256), np.random.default_rng(i)))
    def hole(i): return hole_of_ratio((256, 256), HOLE, i)
    for name,f in (('decode 640x480', decode), ('crop', crop), ('hole by ratio', hole)):
        start = time.perf_counter()
        for i in range(200): f(i)
        row('GPU data pipeline, one process', f'{name}, a second', 200/(time.perf_counter()-start), '')


def bench(
    row, # `run.row`
):
    "All of it. Divide a batch's images a second by a process's, and you know how many processes keep the card busy."
    rates = {bf16: card_rate(dtype) for bf16,dtype in ((False, torch.float32), (True, torch.bfloat16))}
    for bf16,rate in rates.items(): row('GPU matrix products', 'bfloat16' if bf16 else 'float32', rate/1e12, 'TFLOP/s')
    inference(row)
    training(row, rates)
    pipeline(row)


if __name__ == '__main__':
    if not torch.cuda.is_available(): sys.exit('no GPU that torch can use')
    print(torch.cuda.get_device_name(), 'torch', torch.__version__)
    bench(lambda group, what, value, unit, target=None, least=True, **more: print(f'{group:34} {what:36} {value:10.2f} {unit}', more or '', flush=True))
