"Several processes (gloo, on the CPU) train as one: equal weights everywhere, and those of one process with the whole batch."
import os, socket, subprocess, sys, time
import numpy as np, psutil, pytest, torch
from PIL import Image
from gla_inpaint.train import read_checkpoint

TRAIN = '''
import sys, warnings; warnings.filterwarnings('ignore')
import numpy as np, torch
from PIL import Image
from fastai.callback.core import Callback
from fastai.torch_core import num_distrib, rank_distrib, set_seed
from gla_inpaint.data import make_loaders
from gla_inpaint.learner import get_learner
torch.set_num_threads(1)
ranks = max(1, num_distrib())
rng = np.random.default_rng(0)
photos = [Image.fromarray(rng.integers(0, 25+10*i, (40, 40, 3), np.uint8)) for i in range(23)]      # dark to bright
dls = make_loaders(photos, photos[:5], 32, 4//ranks, num_workers=0, device='cpu')
class Double(Callback):
    order = -5
    def before_batch(self):
        self.learn.xb,self.learn.yb = [tuple(t.double() for t in b) for b in (self.xb, self.yb)]
        if self.training and EMPTY and rank_distrib() == ranks-1: self.learn.xb = self.yb[0],torch.ones_like(self.xb[1])
EMPTY = sys.argv[2] == 'empty'
set_seed(0)
learn = get_learner(dls, width=4, lr=1e-3, lr_d=2e-3, d_steps=2, d_warmup=1, ema=.9, cbs=Double())
learn.model.double(); learn.rival.net.double().head[0].p = 0.
learn.rival.net.head[1].weight.data *= 1000              # logits so far apart that the hinges cut: only then do the averages of eq. 16, 17 count
if sys.argv[2] == 'own': import gla_inpaint.losses; gla_inpaint.losses.rank_mean = lambda x: x.mean()
with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.fit(1)
torch.save(dict(steps=len(learn.recorder.losses), row=list(learn.recorder.values[-1]),
                states=[learn.model.state_dict(), learn.rival.net.state_dict(), learn.generator.state_dict()]), f'{sys.argv[1]}-{rank_distrib()}.pt')
'''


def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]


def start(code, ranks, *args, cwd):
    # what `accelerate config` may have left in the environment is not asked for here
    env = dict(os.environ, MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), OMP_NUM_THREADS='1', ACCELERATE_MIXED_PRECISION='bf16')
    of = lambda r: dict(env, WORLD_SIZE=str(ranks), RANK=str(r), LOCAL_RANK=str(r)) if ranks > 1 else env
    return [subprocess.Popen([sys.executable, '-c', code, *args], cwd=cwd, env=of(r), stderr=subprocess.PIPE, text=True) for r in range(ranks)]


def train(ranks, cwd, how='plain'):
    for p in start(TRAIN, ranks, f'r{ranks}', how, cwd=cwd):
        _,err = p.communicate(timeout=300)
        assert p.returncode == 0, err
    return [torch.load(cwd/f'r{ranks}-{r}.pt') for r in range(ranks)]


def tensors(result): return [t for state in result['states'] for t in state.values()]

def apart(a, b):
    "Largest difference of any weight, in the largest weight: processors round differently"
    a,b = (torch.cat([t.flatten() for t in tensors(x)]) for x in (a, b))
    return ((a-b).abs().max()/b.abs().max()).item()


@pytest.fixture(scope='module')
def alone(tmp_path_factory): return train(1, tmp_path_factory.mktemp('alone'))[0]


@pytest.mark.parametrize('ranks', [2, 4])
def test_ranks_equal_each_other_and_one_process(ranks, alone, tmp_path):
    results = train(ranks, tmp_path)
    assert all(r['steps'] == alone['steps'] == 5 for r in results)
    for other in results[1:]: assert all(torch.equal(a, b) for a,b in zip(tensors(results[0]), tensors(other), strict=True))
    assert apart(results[0], alone) < 1e-8
    for row in (r['row'] for r in results): assert row == pytest.approx(alone['row'], rel=1e-5), 'losses and metrics do not depend on the number of processes'


def test_the_averages_are_those_of_all_ranks(alone, tmp_path):
    "The check above can fail: with relativistic averages of its own in each rank the weights are elsewhere."
    assert apart(train(2, tmp_path, 'own')[0], alone) > 1e-6


def test_a_rank_without_any_hole(tmp_path):
    "Attention then has no row to compute: its parameters get zeros there, and nobody waits for them."
    a,b = train(2, tmp_path, 'empty')
    assert all(torch.equal(x, y) and x.isfinite().all() for x,y in zip(tensors(a), tensors(b), strict=True))


# The command, as `accelerate launch` starts it

def launch(ranks, *args):
    return subprocess.Popen([sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', str(ranks), '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no',
                             '--main_process_port', str(free_port()), '-m', 'gla_inpaint.train', *map(str, args)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'), start_new_session=True)


def test_a_rank_that_dies_ends_the_run_which_goes_on_with_another_number(tmp_path):
    folder,run,rng = tmp_path/'photos',tmp_path/'run',np.random.default_rng(0)
    folder.mkdir()
    for i in range(14): Image.fromarray(rng.integers(0, 255, (40, 44, 3), np.uint8)).save(folder/f'{i:02d}.png')
    flags = '--size 32 --bs 4 --width 2 --lr 1e-3 --minutes .5 --save-every 2'.split()
    process = launch(2, folder, '--out', run, *flags)
    try:
        while not list((run/'checkpoints').glob('[0-9]*.pt')) and process.poll() is None: time.sleep(.05)
        ranks = psutil.Process(process.pid).children()
        next(p for p in ranks if p.environ()['RANK'] == '1').kill()
        output,_ = process.communicate(timeout=120)
    finally:
        if process.poll() is None: os.killpg(process.pid, 9)
    assert process.returncode != 0 and not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in ranks), output
    last = read_checkpoint(run/'checkpoints')['train_iter']
    process = launch(4, '--resume', run)
    output,_ = process.communicate(timeout=300)
    assert process.returncode == 0 and f'going on from step {last}' in output and output.count('going on') == 1, output
    assert read_checkpoint(run/'checkpoints')['finished']


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    folder = tmp_path/'photos'
    folder.mkdir()
    for i in range(8): Image.new('RGB', (40, 40), (20*i, 0, 0)).save(folder/f'{i}.png')
    process = launch(2, folder, '--out', tmp_path/'run', '--size', 32, '--bs', 3, '--width', 2)
    output,_ = process.communicate(timeout=120)
    assert process.returncode != 0 and 'make --bs a multiple of 2' in output
