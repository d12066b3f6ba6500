"""`make bench`: speed and memory against the naive reading, with the targets. Exits 1 where one is missed.

Writes results/<hardware>.json, which nbs/paper/speed.ipynb shows. Takes at most 20 minutes on two cores.
`--only WORD` runs the groups whose name has the word, and writes nothing. `--threads 1` measures one core's own
time, which other programs on the machine disturb little, where `make bench` measures the time on the clock.
"""
import argparse, datetime, json, os, re, sys, time
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ['PYTHONPATH'] = os.pathsep.join([str(HERE.parent), os.environ.get('PYTHONPATH', '')])
from measure import alternate, cores, machine, matrix_rate, memory, summary
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument('--only', default='', help='a part of: attention, generator, holes, gpu')
p.add_argument('--threads', type=int, default=cores(), help='of torch; default: all cores')
ARGS = p.parse_args()
THREADS = ARGS.threads
CLOCK = time.process_time if THREADS == 1 else time.perf_counter
os.environ['OMP_NUM_THREADS'] = str(THREADS)
import torch
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.utils.flop_counter import FlopCounterMode
from cases import make_case, masks
from naive import naive_of
from gla_inpaint.generator import Inpainter
from gla_inpaint.gla import GLA
from gla_inpaint.masks import free_form_hole, hole_of_ratio
from gla_inpaint.mpga import MPGA

MB = 2**20
rows = []


def row(
    group:str, # what is measured
    what:str, # which number of it
    value:float, # measured
    unit:str, # of the value
    target:float=None, # None: for information
    least:bool=True, # the target is a lower bound
    **details, # more to keep
):
    "Note a row, and say it."
    reached = None if target is None else bool(value >= target if least else value <= target)
    rows.append(dict(group=group, what=what, value=round(value, 3), unit=unit, target=target, least=least, reached=reached, **details))
    bound = '' if target is None else f'  (target: at {"least" if least else "most"} {target:g}){"" if reached else "  MISSED"}'
    if 'ratio_of_minima' in details: bound += f'  of the minima {details["ratio_of_minima"]:.2f}'
    print(f'{group:34} {what:28} {value:10.2f} {unit}{bound}', flush=True)


def check_equal(
    ours:list, # tensors: one or more values, or values and gradients
    naive:list, # what they should be
    what:str, # for the error
    tol:float=1e-5, # largest difference of values, relative to the largest entry; ten times as much for gradients, which are sums over all pixels
    values:int=1, # how many are values; gradients come after them, and have the largest of their entries as measure
):
    "AssertionError where the fast version is not the naive one."
    assert len(ours) == len(naive)
    largest = lambda ts: max(t.abs().max().item() for t in ts)
    for name,part in (('values', slice(values)), ('gradients', slice(values, None))):
        if not naive[part]: continue
        gap = largest([a-b for a,b in zip(ours[part], naive[part])])/largest(naive[part])
        assert gap < (tol if name == 'values' else 10*tol), f'{what}: {name} differ by {gap:.1e}'


def compare(
    group:str, # its name
    case:dict, # for `make_case`, without `naive`
    speed:float=None, # at least so many times faster
    share:float=None, # at most this share of the naive memory
    seconds:float=20., # to spend on the times
    tol:float=1e-5, # of the check
)->tuple: # median seconds of ours, our case
    "Ours and naive: checked equal, timed by turns, and each one's memory in a process of its own."
    ours,naive = (make_case(**case, naive=n) for n in (False, True))
    check_equal(ours(), naive(), group, tol, values=1 if case.get('grad') else 2)
    times = alternate(dict(ours=ours, naive=naive), seconds, clock=CLOCK)
    a,b = (summary(times[k]) for k in ('ours', 'naive'))
    size = next((f'{case[k]}x{case.get("w", case[k])}' for k in ('side', 'h', 'size') if k in case), '')
    about = dict(ours=a, naive=b, case=case, size=size)
    row(group, 'times faster', b['median_ms']/a['median_ms'], 'x', speed, **about, ratio_of_minima=round(b['min_ms']/a['min_ms'], 2))
    del naive
    used = [memory(THREADS, **case, naive=n)/MB for n in (False, True)]
    row(group, 'share of the memory', used[0]/used[1], '', share, least=False, ours=dict(mb=round(used[0])), naive=dict(mb=round(used[1])), case=case, size=size)
    return a['median_ms']/1e3,ours


def below(
    group:str, # its name
    case:dict, # for `make_case`
    mb:float=None, # at most so many MB
)->float: # MB
    "The memory of ours alone, where the naive version would need too much."
    used = memory(THREADS, **case, naive=False)/MB
    size = next((f'{case[k]}x{case.get("w", case[k])}' for k in ('side', 'h') if k in case), '')
    row(group, 'memory', used, 'MB', mb, least=False, case=case, size=size)
    return used


def attention():
    "Both modules on maps of 64x64 and 128x128 with 128 channels, and on one of 256x256."
    targets = {('mpga', 64): (6, 5), ('mpga', 128): (10, 7), ('gla', 64): (3, 2.8), ('gla', 128): (3.5, 2.8)}
    for (kind,side),speeds in targets.items():
        for grad,speed in zip((False, True), speeds):
            share = 1/8 if (kind, side, grad) == ('gla', 128, False) else None
            compare(f'{kind.upper()} {side}x{side}{" with backward" if grad else ""}', dict(name='attention', kind=kind, side=side, grad=grad), speed, share,
                    seconds=10 if side == 64 else 25)
    for kind in ('mpga', 'gla'):
        used = {side: below(f'{kind.upper()} {side}x{side} with backward', dict(name='attention', kind=kind, side=side, grad=True),
                            1500 if (kind, side) == ('mpga', 256) else None) for side in (64, 128, 256)}
        row(f'{kind.upper()} with backward', 'memory, 256x256 to 128x128', used[256]/used[128], 'x', 5, least=False)   # four times the pixels


def flops(run):
    "Operations of a run, counted by PyTorch with the fused kernel switched off, as the counter cannot look inside it."
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter: run()
    return counter.get_total_flops()


def check_exact():
    "In float64, where rounding hides nothing: values and gradients of both modules and of the whole generator, odd sizes, two holes."
    torch.manual_seed(0)
    x,psi,m = torch.rand(2, 3, 90, 75).double()*2-1,torch.randn(2, 16, 23, 19).double(),masks(2, (90, 75)).double()
    for net,inp in ((MPGA(16), psi), (GLA(16), psi), (Inpainter(16), x)):
        net = net.double()
        values,grads = [],[]
        for n in (net, naive_of(net)):
            out = n(inp, m)
            out = out if isinstance(out, tuple) else (out,)
            values.append(out); grads.append(torch.autograd.grad(sum(o.square().mean() for o in out), n.parameters()))
        check_equal(*values, f'{type(net).__name__} in float64', 1e-12, values=2)
        for name,a,b in zip(dict(net.named_parameters()), *grads): check_equal([a], [b], f'{type(net).__name__}, gradient of {name} in float64', 1e-9)


def generator(rate):
    "The generator without gradients, and a whole training step. In float32 sixty layers round, so its tolerance is 1e-4; float64 is exact."
    for side,speed,share in ((256, 2, 1/3), (512, 3.5, 1/15)):
        seconds,ours = compare(f'generator {side}x{side}', dict(name='generator', h=side, w=side), speed, share, tol=1e-4)
        done = flops(ours)
        row(f'generator {side}x{side}', 'share of the matrix rate', done/seconds/rate, '', gflop=round(done/1e9, 1))
    below('generator 512x680', dict(name='generator', h=512, w=680), 400)
    below('generator 1024x1024', dict(name='generator', h=1024, w=1024), 1024)
    seconds,ours = compare('training step 256x256, batch 4', dict(name='training', size=256, bs=4), 1.35, 2/3, seconds=60, tol=1e-4)
    done = flops(ours)
    row('training step 256x256, batch 4', 'share of the matrix rate', done/seconds/rate, '', gflop=round(done/1e9, 1))
    return seconds


def holes(step):
    "Holes drawn on the fly at 256x256, on one core."
    def many(f, n=200): return lambda: [f((256,256), seed=i) for i in range(n)] and n
    times = alternate({'plain': many(partial(free_form_hole, strokes=(1,1))), 'up to three strokes': many(free_form_hole), 'ratio': many(hole_of_ratio)}, 8, clock=time.process_time)
    least = {k: min(t) for k,t in times.items()}
    row('holes 256x256', 'plain strokes a second', 200/least['plain'], '', 5000)
    row('holes 256x256', 'holes of 1 to 3 strokes a second', 200/least['up to three strokes'], '')
    row('holes 256x256', 'by ratio a second', 200/least['ratio'], '', 1500)
    if step: row('holes 256x256', 'share of a training step', 4*least['ratio']/200/step, '', .03, least=False)


def main():
    only,start = ARGS.only,time.time()
    torch.set_num_threads(THREADS)
    about,rate = machine(),matrix_rate(clock=CLOCK)
    print(f'{about["cpu"]}, {about["cores"]} cores, torch {about["torch"]}, matrix products at {rate/1e9:.0f} GFLOP/s')
    check_exact()
    step = None
    if only in 'attention': attention()
    if only in 'generator': step = generator(rate)
    if only in 'holes': holes(step)
    if torch.cuda.is_available() and only in 'gpu':
        import gpu
        gpu.bench(row)
        about['gpu'] = torch.cuda.get_device_name()
    missed = [r for r in rows if r['reached'] is False]
    if not only:
        name = re.sub('[^a-z0-9]+', '-', f'{about["cpu"]} {about["cores"]} cores {THREADS} threads {about.get("gpu", "")}'.lower()).strip('-')
        file = HERE/'results'/f'{name}.json'
        file.parent.mkdir(exist_ok=True)
        result = dict(date=datetime.date.today().isoformat(), **about, threads=THREADS, matrix_gflops=round(rate/1e9), matrix_gflops_after=round(matrix_rate(clock=CLOCK)/1e9),
                      minutes=round((time.time()-start)/60, 1), rows=rows)
        file.write_text(json.dumps(result, indent=1)+'\n')
        print(f'wrote {file}')
    print(f'{len(missed)} of {sum(r["reached"] is not None for r in rows)} targets missed, {(time.time()-start)/60:.1f} minutes')
    sys.exit(bool(missed))


if __name__ == '__main__': main()
