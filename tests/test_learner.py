"Saved in one process, loaded in another: generator, discriminator and both optimizers; an export holds the generator alone."
import subprocess, sys
import pytest

MAKE = '''
import warnings; warnings.filterwarnings('ignore')
import numpy as np, torch
from PIL import Image
from fastai.torch_core import set_seed
from gla_inpaint.data import inpaint_dataloaders
from gla_inpaint.learner import get_learner
rng = np.random.default_rng(0)
photos = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(6)]
dls = inpaint_dataloaders(photos, size=32, bs=2, valid=photos[:2], num_workers=0)
def state(learn):
    tensors = [*learn.model.state_dict().values(), *learn.rival.net.state_dict().values()]
    for opt in (learn.opt, learn.rival.d_opt): tensors += [v for s in opt.state_dict()['state'] for v in s.values() if isinstance(v, torch.Tensor)]
    return float(sum((t.double()*(i+1)).sum() for i,t in enumerate(tensors))),len(tensors)
def fresh(seed): set_seed(seed); return get_learner(dls, width=4, lr=1e-3, path='.')
def fit(learn, n):
    set_seed(7)
    with learn.no_bar(), learn.no_logging(): learn.fit(n)
    return learn
'''


def run(code, cwd):
    got = subprocess.run([sys.executable, '-c', MAKE+code], cwd=cwd, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    return got.stdout.split()


def test_save_and_load_across_processes(tmp_path):
    saved = run("learn = fit(fresh(1), 1); learn.save('both'); print(*state(learn))", tmp_path)
    loaded = run("learn = fresh(2).load('both'); print(*state(learn))", tmp_path)
    other = run("learn = fit(fresh(2), 1); print(*state(learn))", tmp_path)
    assert saved == loaded != other and int(saved[1]) > 100


def test_a_missing_discriminator_is_refused_before_anything_changes(tmp_path):
    run("fit(fresh(1), 1).save('both')", tmp_path)
    (tmp_path/'models/both_d.pth').unlink()
    assert run('''
learn = fresh(2); learn.create_opt(); before = state(learn)
try: learn.load('both')
except FileNotFoundError as e: print('both_d.pth' in str(e), state(learn) == before)''', tmp_path) == ['True', 'True']


def test_fit_makes_the_optimizer_that_is_missing(tmp_path):
    "After an export without a fit, and after a fit without the callback."
    assert run('''
a,b = fresh(1),fresh(1); a.export(); fit(a, 1)
with b.removed_cbs([b.rival]): fit(b, 1)
fit(b, 1)
print(all(l.rival.d_opt is not None and l.loss_log.mean('d_loss') > 0 for l in (a, b)))''', tmp_path) == ['True']


def test_an_error_leaves_bfloat16(tmp_path):
    assert run('''
learn = fresh(1).to_bf16()
with torch.no_grad(): next(learn.model.parameters())[0] = float('nan')
try: fit(learn, 1)
except FloatingPointError: print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)''', tmp_path) == ['torch.float32']


def test_export_fills_in_another_process(tmp_path):
    there = run('''
learn = fit(fresh(1), 1); learn.export()
x,m,_ = (t[None] for t in dls.valid_ds[0]); print(float(learn.model.eval()(x, m)[1].double().sum()), hasattr(learn.rival, 'net'))''', tmp_path)
    here = run('''
from fastai.learner import load_learner
learn = load_learner('export.pkl')
x,m,_ = (t[None] for t in dls.valid_ds[0]); print(float(learn.model.eval()(x, m)[1].double().sum()), hasattr(learn.rival, 'net'))''', tmp_path)
    assert here[0] == there[0] and (there[1],here[1]) == ('True','False')


def test_bf16_on_this_device(tmp_path):
    assert run("learn = fit(fresh(1).to_bf16(), 1); print(learn.loss_log.mean('recon') < 3)", tmp_path) == ['True']
