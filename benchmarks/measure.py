"""Time by turns, memory in a process of its own, and what the machine is.

As a program it measures one case's memory: `python measure.py '{"name": "generator", "h": 256, "w": 256, "naive": false}'`
prints the bytes that one run took at its peak beyond what the process held before.
"""
import json, os, platform, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).parent


def alternate(
    runs:dict, # name: function without arguments
    seconds:float=20., # to spend, about; each runs three times at least
    most:int=30, # times at most
    clock=time.perf_counter, # `time.process_time` for what runs on one core
)->dict: # name: list of seconds, of equal length
    "Run them by turns, so that what else the machine does meets all alike. The first round is not counted."
    for f in runs.values(): f()
    times,end = {k: [] for k in runs},time.perf_counter()+seconds
    for n in range(most):
        if n >= 3 and time.perf_counter() > end: break
        for name,f in runs.items():
            start = clock()
            f()
            times[name].append(clock()-start)
    return times


def summary(
    times:list, # seconds
)->dict: # median and least, in milliseconds
    "What is reported of a list of times."
    return dict(median_ms=round(1e3*statistics.median(times), 2), min_ms=round(1e3*min(times), 2), runs=len(times))


def _status(field): return next((int(l.split()[1])*1024 for l in open('/proc/self/status') if l.startswith(field)), 0)

def peak_of(
    f, # function without arguments
)->int: # bytes
    "What this process holds at its peak during a run of `f`, beyond what it held before. On Linux the mark is reset before; elsewhere it is `ru_maxrss`."
    import resource
    unit = 1 if platform.system() == 'Darwin' else 1024
    most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*unit
    try:
        Path('/proc/self/clear_refs').write_text('5')
        before,after = _status('VmRSS'),lambda: _status('VmHWM')
    except OSError: before,after = most(),most
    f()
    return max(0, after()-before)


def memory(
    threads:int, # of torch
    **case, # for `make_case`, with its name
)->int: # bytes
    "`peak_of` one run of a case, in a new process. There glibc gives freed memory back at once, so that the peak is what the run needs and not what malloc keeps."
    env = os.environ | {'OMP_NUM_THREADS': str(threads), 'MALLOC_MMAP_THRESHOLD_': str(2**20)}
    out = subprocess.run([sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, env=env)
    if out.returncode: raise RuntimeError(f'{case} failed:\n{out.stderr[-2000:]}')
    return int(out.stdout.split()[-1])


def matrix_rate(
    n:int=2048, # side of the matrices
    clock=time.perf_counter, # as for `alternate`
)->float: # operations a second
    "How fast this machine multiplies float32 matrices: the best of several."
    import torch
    a,b = torch.randn(2, n, n)
    best = min(alternate({'': lambda: a@b}, 3, 20, clock)[''])
    return 2*n**3/best


def machine()->dict:
    "What the numbers were measured on."
    import torch
    try: cpu = next(l.split(':',1)[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name'))
    except (OSError, StopIteration): cpu = platform.processor() or platform.machine()
    return dict(cpu=cpu, cores=cores(), torch=torch.__version__, python=platform.python_version(), system=platform.system())


def cores()->int:
    "Cores that this process may use."
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


if __name__ == '__main__':
    case = json.loads(sys.argv[1])
    sys.path.insert(0, str(HERE))
    import torch
    from cases import make_case
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', cores())))
    small = dict(case) | {k: v for k,v in dict(side=16, h=32, w=32, size=32).items() if k in case}
    make_case(**small)()     # libraries are loaded and have their own memory
    print(peak_of(make_case(**case)))
