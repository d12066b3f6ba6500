"Saved in one process, loaded in another: generator, discriminator and both optimizers; an export holds the generator alone."
import contextlib, functools, io, os, subprocess, sys

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


@functools.cache
def made():
    "What MAKE makes, in this process: for what needs none of its own"
    names = {}
    exec(MAKE, names)
    return names


def here(code, cwd):
    "What the code prints, word by word"
    names,before = dict(made()),os.getcwd()
    names['dls'].train_ds.epoch = 0
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out: exec(code, names)
    finally: os.chdir(before)
    return out.getvalue().split()


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
    assert here('''
a,b = fresh(1),fresh(1); a.export(); fit(a, 1)
with b.removed_cbs([b.rival]): fit(b, 1)
fit(b, 1)
print(all(l.rival.d_opt is not None and l.loss_log.mean('d_loss') > 0 for l in (a, b)))''', tmp_path) == ['True']


def test_an_error_leaves_bfloat16(tmp_path):
    assert here('''
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


def test_an_export_is_not_trained_and_making_it_changes_nothing(tmp_path):
    said = here('''
from fastai.learner import load_learner
learn = fit(fresh(1), 1); before = learn.rival.d_opt
learn.export(); print(learn.rival.d_opt is before, hasattr(learn.rival, 'net'))
exported = load_learner('export.pkl'); exported.dls = dls
try: fit(exported, 1)
except RuntimeError as e: print('no discriminator' in str(e))''', tmp_path)
    assert said == ['True']*3


def test_the_loss_of_validation_is_the_mean_over_photos(tmp_path):
    said = here('''
learn = fit(fresh(1), 1)
with learn.no_bar(): each,whole = learn.get_preds(with_loss=True)[2],learn.validate()[0]
print(abs(each.mean().item()-whole) < 1e-4)''', tmp_path)
    assert said == ['True']


def test_the_search_for_a_rate_leaves_both_networks_as_they_were(tmp_path):
    said = here('''
learn = fit(fresh(1), 1); before = state(learn)[0]
nets = lambda: [p.clone() for n in (learn.model, learn.rival.net) for p in n.parameters()]
old = nets()
with learn.no_bar(): learn.lr_find(num_it=6, show_plot=False)
print(all(torch.equal(a, b) for a,b in zip(old, nets())))''', tmp_path)
    assert said == ['True']


def test_a_constant_added_to_all_scores_changes_no_loss():
    import torch
    from gla_inpaint.losses import discriminator_loss, generator_loss
    logits = torch.randn(2, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    for loss in (discriminator_loss, generator_loss): torch.testing.assert_close(loss(*logits), loss(*logits+5), rtol=1e-5, atol=1e-5)


def test_bf16_computes_in_bfloat16_and_goes_back(tmp_path):
    said = here('''
half,kinds = fresh(1).to_bf16(),[]
half.model.coarse.regular[0].register_forward_hook(lambda m, x, y: kinds.append(y.dtype))
fit(half, 1); print(kinds[0] == torch.bfloat16)
half.to_fp32(); print(half.opt.param_lists[0][0].dtype == torch.float32, torch.is_autocast_enabled('cpu'))''', tmp_path)
    assert said == ['True', 'True', 'False']


def test_bf16_on_this_device(tmp_path):
    assert here("learn = fit(fresh(1).to_bf16(), 1); print(learn.loss_log.mean('recon') < 3)", tmp_path) == ['True']


KNOBS = '''
from fastai.callback.core import Callback
def moved(a, b): return any(not torch.equal(x, y) for x,y in zip(a, b))
def copies(m): return [t.clone() for t in m.parameters()]
class Watch(Callback):
    order = 50
    def before_fit(self): self.rows = []
    def before_batch(self): self.g,self.d = copies(self.model),copies(self.learn.rival.net)
    def after_batch(self):
        if self.training: self.rows.append((moved(self.g, self.model.parameters()), moved(self.d, self.learn.rival.net.parameters()),
                                            self.pct_train, self.learn.rival.d_opt.hypers[0]['lr']/self.opt.hypers[0]['lr']))
'''

def test_in_the_warm_up_the_discriminator_learns_alone(tmp_path):
    "The schedule waits with the generator, and ends where it would."
    out = here(KNOBS+'''
set_seed(1); w = Watch(); learn = get_learner(dls, width=4, d_warmup=2, adversarial_from=.25, path='.')
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=w)
print(*(f'{g:d}{d:d}' for g,d,*_ in w.rows), *(round(p*4, 6) for *_,p,_ in w.rows), len(learn.loss_log.parts['d_loss']))''', tmp_path)
    assert out == '10 01 01 11 11 11 1.0 1.0 1.0 2.0 3.0 4.0 3'.split()


def test_the_ratio_of_the_two_rates_stays(tmp_path):
    out = here(KNOBS+'''
set_seed(1); w = Watch(); learn = get_learner(dls, width=4, lr=1e-4, lr_d=4e-4, path='.')
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=w)
print(*(round(r, 6) for *_,r in w.rows))''', tmp_path)
    assert out == ['4.0']*6


def test_steps_and_weight_of_the_discriminator(tmp_path):
    out = here('''
def go(**kw):
    set_seed(1); dls.train_ds.epoch = 0                   # the same holes for all
    return fit(get_learner(dls, width=4, lr=1e-3, path='.', **kw), 1)
learn,alone,both = go(adv_weight=0., d_steps=3),go(adversarial=False),go()
equal = lambda l: all(torch.equal(a, b) for a,b in zip(l.model.parameters(), alone.model.parameters()))
print(len(learn.loss_log.parts['d_loss']), len(learn.loss_log.parts['g_adv']), equal(learn), equal(both))''', tmp_path)
    assert out == ['9', '3', 'True', 'False']


def test_averaged_weights_judge_and_are_saved(tmp_path):
    out = here('''
set_seed(1); learn = fit(get_learner(dls, width=4, lr=1e-2, ema=.9, path='.'), 2)
raw = [p.clone() for p in learn.model.parameters()]
mean = [p.clone() for p in learn.generator.parameters()]
with learn.no_bar(): loss = learn.validate()[0]
learn.save('both'); other = get_learner(dls, width=4, lr=1e-2, ema=.9, path='.').load('both')
same = lambda m,ps: all(torch.equal(a, b) for a,b in zip(m.parameters(), ps))
print(same(other.model, raw), same(other.generator, mean), same(learn.model, mean), other.average.n)
learn.export()
from fastai.learner import load_learner
back = load_learner('export.pkl'); back.dls = dls
with back.no_bar(): print(abs(back.validate()[0] - loss) < 1e-6)
learn.remove_cb(learn.average)
with learn.no_bar(): print(learn.validate()[0] == loss)''', tmp_path)
    assert out == ['True', 'True', 'False', '6', 'True', 'False']


def test_the_average_is_what_its_formula_says(tmp_path):
    out = here('''
from fastai.callback.core import Callback
class Keep(Callback):
    order = 50
    def before_fit(self): self.mean = [p.detach().clone() for p in self.model.parameters()]; self.n = 0
    def after_step(self):
        d = min(.5, (1+self.n)/(10+self.n)); self.n += 1
        self.mean = [d*m + (1-d)*p.detach() for m,p in zip(self.mean, self.model.parameters())]
set_seed(1); keep = Keep(); learn = get_learner(dls, width=4, lr=1e-2, ema=.5, path='.', cbs=keep); fit(learn, 5)
print(max((a-b).abs().max().item() for a,b in zip(keep.mean, learn.generator.parameters())) < 1e-5)''', tmp_path)
    assert out == ['True']


def test_what_a_discriminator_cannot_do_is_refused(tmp_path):
    out = here('''
from fastai.callback.training import GradientAccumulation
from fastai.callback.fp16 import MixedPrecision
for cb in (GradientAccumulation(4), MixedPrecision()):
    try: fit(get_learner(dls, width=4, path='.', cbs=cb), 1)
    except ValueError as e: print(str(e).splitlines()[-1].split()[0])
fit(get_learner(dls, width=4, path='.', adversarial=False, cbs=GradientAccumulation(4)), 1)
try: get_learner(dls, width=4, adversarial=False, lr_d=1e-3)
except ValueError as e: print('need the discriminator' in str(e))''', tmp_path)
    assert out == ['the', 'float16', 'True']


def test_an_error_in_the_generators_loss_leaves_the_discriminator_as_it_was(tmp_path):
    assert here('''
import gla_inpaint.learner as m
def broken(*args): raise MemoryError('full')
loss,learn = m.generator_loss,fresh(1)
m.generator_loss = broken
try: fit(learn, 1)
except MemoryError: pass
finally: m.generator_loss = loss
print(all(p.requires_grad for p in learn.rival.net.parameters()), fit(learn, 1).loss_log.mean('d_loss') > 0)''', tmp_path) == ['True', 'True']


def test_predict_fills_one_sample(tmp_path):
    assert here('''
learn = fit(fresh(1), 1)
holed,mask,truth = dls.valid_ds[0]
learn.model.train()
result,coarse,refined = learn.predict(dls.valid_ds[0])
training = learn.model.training
with learn.no_bar(): preds = learn.get_preds()[0]
known = mask.expand_as(truth).bool()
print(torch.equal(result[known], truth[known]), torch.equal(result[~known], refined[~known]), training,
      torch.allclose(refined, preds[1][0], atol=1e-5), torch.allclose(coarse, preds[0][0], atol=1e-5))''', tmp_path) == ['True', 'True', 'True', 'True', 'True']


def test_metrics_measure_each_photo_once(tmp_path):
    assert here('''
import gla_inpaint.learner as m
measure,calls = m.inpaint_metrics,[]
def counted(*args): calls.append(len(args[0])); return measure(*args)
m.inpaint_metrics = counted
try: learn = fit(fresh(1), 2)
finally: m.inpaint_metrics = measure
print(sum(calls), [m.name for m in learn.recorder.metrics][-3:] == ['l1', 'psnr', 'ssim'])''', tmp_path) == ['4', 'True']


def test_a_loss_that_is_not_a_number_says_what_helps(tmp_path):
    out = here('''
learn = fresh(1); learn.loss_log.before_fit = lambda: setattr(learn.loss_log, 'every', 50)      # as on a GPU
with torch.no_grad(): next(learn.model.parameters())[0] = float('nan')
try: fit(learn, 1)
except FloatingPointError as e: print(str(e).splitlines()[-1])''', tmp_path)
    text = ' '.join(out)
    assert text.startswith('recon is nan in epoch 0, step 0: a smaller learning rate helps')


def test_torchs_fused_adam_is_the_same_adam(tmp_path):
    "What a GPU uses, here on a CPU: the same steps but for rounding, and a state that either can go on from, exactly"
    out = here('''
from copy import deepcopy
from functools import partial
from gla_inpaint.learner import adam
from gla_inpaint.train import learner_state, restore
def learner(fused):
    set_seed(1); dls.train_ds.epoch = 0
    learn = get_learner(dls, width=4, lr=1e-3, path='.'); learn.opt_func = partial(adam, fused=fused)
    return learn
def far(a, b):
    pairs = [(k, x, dict(n.named_parameters())[k]) for m,n in ((a.model, b.model), (a.rival.net, b.rival.net)) for k,x in m.named_parameters()]
    return max((x-y).abs().max().item() for k,x,y in pairs if k != 'head.1.bias')      # its gradient is 0 but for rounding
def go(learn, n):
    with learn.no_bar(), learn.no_logging():
        for _ in range(n):
            set_seed(learn.dls.train_ds.epoch)
            learn.fit_one_cycle(1, 1e-3)
    return learn
def again(learn, fused):
    state = deepcopy(learner_state(learn)) | dict(batch=0, epoch=2)        # as through a file
    new = learner(fused); restore(new, state); new.first_epoch = 0
    return go(new, 1)
ours,theirs = go(learner(False), 2),go(learner(True), 2)
print(far(ours, theirs) < 1e-5, type(theirs.opt).__name__, theirs.rival.d_opt.hypers[0]['lr'] == theirs.opt.hypers[0]['lr'], theirs.opt.hypers[0]['mom'])
for fused,learn in ((False, ours), (True, theirs)):
    dls.train_ds.epoch = 2
    straight,other = again(learn, fused),again(learn, not fused)
    dls.train_ds.epoch = 2
    exact = go(learn, 1)
    print(far(exact, straight) == 0, 0 < far(exact, other) < 1e-5)
''', tmp_path)
    assert out == ['True', 'OptimWrapper', 'True', '0.5'] + ['True', 'True']*2
