"""Generators behind one protocol. `Inpainter` is bit for bit what it was before it had a base class; and what holds for
it holds for every network with a name, and for a tiny one that is here for the tests alone."""
import csv, json, multiprocessing, os, sys
from pathlib import Path
from types import ModuleType

import numpy as np, pytest, torch
import torch.nn.functional as F
from PIL import Image
from fastai.torch_core import set_seed
from safetensors.torch import load_file, save_file
from torch import nn

import gla_inpaint
from gla_inpaint import evaluate, train
from gla_inpaint.data import make_loaders
from gla_inpaint.generator import (
    CoarseNet, Conv, Generator, Inpainter, RefineNet, UpConv, check_inputs, composite)
from gla_inpaint.hub import model_page
from gla_inpaint.inference import inpaint
from gla_inpaint.weights import InpaintError, load_inpainter, save_inpainter
from gla_inpaint.learner import InpaintLoss, get_learner
from gla_inpaint.losses import reconstruction_loss
from gla_inpaint.nets import NETS, make_net, net_class, size_of, width_for

WEIGHTS = Path(gla_inpaint.__path__[0])/'weights'


class Tiny(Generator):
    "A few layers, a loss that it needs, and one that it could do without."
    name,stages = 'tiny',1
    needs,extras = dict(grey=.5),dict(flat=.1)
    def __init__(self, width:int=8, kind:str='known'):
        super().__init__(width=width, kind=kind)
        self.layers = nn.Sequential(Conv(4, width), Conv(width, 4*width, 3, 2), UpConv(4*width, width),
                                    Conv(width, 3, act=False), nn.Hardtanh())
    def fill(self, x, m, truth=None):
        out = self.layers(torch.cat([x, m], 1))
        if truth is not None:
            losses = dict(grey=lambda: (out.mean(1)-truth.mean(1)).square().mean(), flat=lambda: out.var())
            self.own = {k: losses[k]() for k in self.asked}
        return out,out

@pytest.fixture(autouse=True, scope='module')
def tiny_has_a_name():
    "As if `Tiny` were a module of the package"
    module = sys.modules['gla_inpaint.tiny'] = ModuleType('gla_inpaint.tiny')
    module.Tiny,NETS['tiny'],methods = Tiny,'tiny:Tiny',evaluate.METHODS
    evaluate.METHODS = *methods,'tiny'
    yield
    del sys.modules['gla_inpaint.tiny'],NETS['tiny']
    evaluate.METHODS = methods

NAMES = [*NETS, 'tiny']
each = pytest.mark.parametrize('name', NAMES)
others = pytest.mark.parametrize('name', [n for n in NAMES if n != 'gla'])

def small(name, seed=0):
    torch.manual_seed(seed)
    return make_net(name, dict(width=4))


# ---- what came before the protocol

class Before(nn.Module):
    "`Inpainter` as it was when it had no base class: the same parts, and its own forward."
    def __init__(self, width, mpga, gla, candidates, scale):
        super().__init__()
        self.coarse = CoarseNet(width, mpga)
        self.refine = RefineNet(width, gla, candidates=candidates, scale=scale)

    def pad(self, x):
        h,w = x.shape[-2:]
        x = F.pad(x, (0, -w%4, 0, -h%4))
        return x.contiguous(memory_format=torch.channels_last)

    def forward(self, holed, mask):
        check_inputs(holed, mask)
        (h,w),mask = holed.shape[-2:],mask.to(holed.dtype)
        x,m = self.pad(holed.masked_fill(mask == 0, 0)),self.pad(mask)
        coarse = self.coarse(x, m)
        refined = self.refine(composite(coarse, x, m), m)
        return coarse[...,:h,:w],refined[...,:h,:w]


def photo_and_mask(b=1, h=61, w=50, seed=0):
    "Photos [B,3,H,W] in [-1,1], and masks [B,1,H,W] with a third of hole in blocks."
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(b, 1, 8, 8, generator=rng) > .33
    mask = F.interpolate(coarse.float(), (h, w), mode='nearest')
    return torch.rand(b, 3, h, w, generator=rng)*2-1,mask


@pytest.mark.parametrize('name', ['default', 'adversarial'])
def test_shipped_weights_fill_as_before(name):
    net = load_inpainter(WEIGHTS/f'{name}.safetensors', 'cpu')
    old = Before(net.width, net.mpga, net.gla, net.candidates, net.scale).eval()
    old.load_state_dict(net.state_dict(), strict=True)
    with torch.inference_mode(): both = [f(*photo_and_mask()) for f in (net, old)]
    assert all(torch.equal(a, b) for a,b in zip(*both, strict=True))


def test_training_starts_as_before():
    "The same random numbers in the same order, the same names, the same gradients"
    how = dict(width=4, mpga=True, gla=True, candidates='partly', scale=20.)
    nets = []
    for kind in (Inpainter, Before):
        torch.manual_seed(0)
        nets.append(kind(**how))
        sum(o.square().mean() for o in nets[-1](*photo_and_mask(2))).backward()
    for a,b in zip(*(dict(n.named_parameters()).items() for n in nets), strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1]), a[0]
        assert torch.equal(a[1].grad, b[1].grad), a[0]
    assert nets[0].settings == how and all(getattr(nets[0], k) == v for k,v in how.items())


def test_a_generator_without_fill_says_so():
    class Idle(Generator): pass
    with pytest.raises(NotImplementedError, match='Idle has no method fill'):
        Idle()(*photo_and_mask())


# ---- what holds for each

@each
def test_name_and_settings_build_it_again(name):
    net = small(name)
    assert net.name == name and net_class(name) is type(net) and net.settings['width'] == 4
    twin = make_net(net.name, json.loads(json.dumps(net.settings)))
    shapes = [{k: v.shape for k,v in n.state_dict().items()} for n in (net, twin)]
    assert shapes[0] == shapes[1] and twin.settings == net.settings


@each
@pytest.mark.parametrize('size', [(16, 16), (17, 23), (16, 45)])
def test_what_lies_under_the_hole_changes_nothing(name, size):
    net,(x,m) = small(name).eval(),photo_and_mask(1, *size)
    with torch.inference_mode():
        clean = net(x*m, m)
        for under in (x, torch.full_like(x, 1e9), torch.full_like(x, torch.nan)):
            for a,b in zip(net(torch.where(m == 1, x, under), m), clean, strict=True): assert torch.equal(a, b)
    assert all(o.shape == x.shape and (o.abs() <= 1).all() for o in clean)


@each
def test_the_truth_goes_on_beyond_a_padded_border(name):
    net,(x,m) = small(name),photo_and_mask(1, 17, 23)
    got = {}
    net.fill = lambda x,m,truth: (got.update(x=x, m=m, truth=truth), (x, x))[1]
    net(x*m, m, x)
    assert torch.equal(got['truth'][...,:17,:23], x) and torch.equal(got['x'][...,:17,:23], x*m)
    assert (got['truth'][...,17:,22:] == x[...,-1:,-1:]).all() and not got['m'][...,17:,:].any() and not got['m'][...,23:].any()


@each
@pytest.mark.parametrize('hole', ['none', 'all'])
def test_no_hole_and_nothing_else(name, hole):
    net,(x,m) = small(name).eval(),photo_and_mask(2, 20, 24)
    with torch.inference_mode(): pair = net(x, torch.full_like(m, hole == 'none'))
    assert all(o.isfinite().all() and (o.abs() <= 1).all() for o in pair)


@each
def test_a_photo_is_filled_alone_as_in_its_batch(name):
    net,(x,m) = small(name).eval(),photo_and_mask(3, 24, 20)
    assert not torch.equal(m[0], m[1]), 'each photo has a hole of its own'
    with torch.inference_mode():
        for i in range(3):
            for a,b in zip(net(x, m), net(x[i:i+1], m[i:i+1])): assert (a[i]-b[0]).abs().max() < 1e-4


@each
@pytest.mark.parametrize('half', [False, True])
def test_saved_and_loaded_it_fills_the_same(name, half, tmp_path):
    net,file = small(name).eval(),tmp_path/'w.safetensors'
    save_inpainter(net, file, 'untrained', half)
    again = load_inpainter(file, 'cpu')
    assert (type(again), again.settings, again.label) == (type(net), net.settings, 'untrained')
    if half: net.load_state_dict({k: v.half().float() for k,v in net.state_dict().items()})
    with torch.inference_mode():
        for a,b in zip(net(*photo_and_mask()), again(*photo_and_mask()), strict=True): assert torch.equal(a, b)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 52, 3), np.uint8))
    filled = np.asarray(inpaint(photo, (8, 9, 30, 31), file))
    inside = np.zeros((40, 52), bool)
    inside[9:31,8:30] = True
    assert (filled != np.asarray(photo))[inside].any() and (filled == np.asarray(photo))[~inside].all()
    assert '4' in model_page(again) and (name == 'gla' or name in model_page(again))


# ---- in training

def loaders(n=5, size=32, bs=2):
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(n)]
    return make_loaders(photos[1:], photos[:1], size, bs, num_workers=0, device='cpu')

class Seen(train.Callback):
    "After one step: the parts of the loss, and which gradients there were"
    order = 50
    def before_step(self):
        self.parts = {k: v[-1] for k,v in self.learn.loss_log.parts.items()}
        self.total = self.learn.loss_grad.item()
        self.grads = {k: p.grad.clone() for k,p in self.model.named_parameters()}
    def after_batch(self): raise train.CancelFitException

def one_step(net, **kwargs):
    seen,bf16 = Seen(),kwargs.pop('bf16', False)
    learn = get_learner(loaders(), 4, net=net, cbs=seen, **kwargs)
    if bf16: learn.to_bf16()
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return learn,seen


@each
@pytest.mark.parametrize('bf16', [False, True], ids=['float32', 'bf16'])
def test_a_step_reaches_every_weight(name, bf16):
    learn,seen = one_step(small(name), bf16=bf16)
    assert all(g is not None and g.isfinite().all() for g in seen.grads.values())
    waits = 'omega','attention.query' # whose result is multiplied by a number that starts at 0
    assert all(g.any() for k,g in seen.grads.items() if k.endswith('weight') and not any(w in k for w in waits))
    assert not learn.model.own, 'no graph is left behind'
    assert all(v.isfinite().all() for v in learn.model.state_dict().values())


@each
def test_each_own_loss_counts_with_its_weight(name):
    kind = net_class(name)
    for own in (None, True) if kind.extras else (None,):
        _,seen = one_step(small(name), own=own, adversarial=False)
        weights = kind.needs | (kind.extras if own else {})
        assert {k[4:] for k in seen.parts if k.startswith('own_')} == set(weights)
        total = seen.parts['recon'] + sum(w*seen.parts[f'own_{k}'] for k,w in weights.items())
        assert seen.total == pytest.approx(total, rel=1e-5)


def test_weights_of_own_losses_can_be_chosen():
    _,seen = one_step(small('tiny'), own=dict(grey=0., flat=7.), adversarial=False)
    assert seen.total == pytest.approx(seen.parts['recon'] + 7*seen.parts['own_flat'], rel=1e-5)


@pytest.mark.parametrize('net,how,says', [
    ('tiny', dict(own=dict(sharp=1.)), 'tiny has no loss sharp'), ('gla', dict(own=True), 'gla has no further losses'),
    ('tiny', dict(mpga=False), 'a tiny has neither')])
def test_what_a_network_does_not_have(net, how, says):
    with pytest.raises(ValueError, match=says): get_learner(loaders(), 4, net=small(net), **how)


def test_of_one_stage_the_result_alone_is_scored():
    torch.manual_seed(0)
    first,result,truth = (torch.rand(2, 3, 16, 16)*2-1 for _ in range(3))
    two,one = InpaintLoss(),InpaintLoss(stages=1)
    assert two((first, result), truth) == reconstruction_loss(first, result, truth)
    assert one((first, result), truth) == one((truth, result), truth) == two((truth, result), truth)
    assert one((first, result), truth, reduction='none').shape == (2,)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder,rng = tmp_path_factory.mktemp('photos'),np.random.default_rng(0)
    for i in range(9): Image.fromarray(rng.integers(0, 255, (40, 44, 3), np.uint8)).save(folder/f'{i}.png')
    return folder

def command(*args): return train.main([str(a) for a in args])

def a_run(photos, run, name, *flags):
    "Two epochs of four steps, in seconds"
    how = '--size 32 --bs 2 --width 2 --lr 1e-3 --epochs 2 --save-every 3 --ema .9'.split()
    own = ['--own'] if net_class(name).extras else []
    return command(photos, '--out', run, '--net', name, *own, *how, *flags)

@pytest.fixture(scope='module')
def run_of(photos, tmp_path_factory):
    "A finished run of each network, made when it is first asked for"
    runs = {}
    def _run(name):
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp(name)/'run'
            assert a_run(photos, runs[name], name) == 0
        return runs[name]
    return _run


@others
def test_a_run_that_was_ended_goes_on_exactly(name, photos, run_of, tmp_path, monkeypatch):
    save = train.Checkpoints.after_batch
    def _stop(self):
        save(self)
        if self.training and self.train_iter == 5: raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(train.Checkpoints, 'after_batch', _stop)
        assert a_run(photos, tmp_path/'run', name) == 130
    assert command('--resume', tmp_path/'run') == 0
    for file in ('last', 'best', 'last_d'):
        a,b = (load_file(r/f'{file}.safetensors') for r in (run_of(name), tmp_path/'run'))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), file
    rows = [list(csv.DictReader((r/'history.csv').open())) for r in (run_of(name), tmp_path/'run')]
    assert [{**r, 'minutes': 0} for r in rows[0]] == [{**r, 'minutes': 0} for r in rows[1]]


@others
def test_a_run_says_what_it_trains(name, photos, run_of):
    s,net = json.loads((run_of(name)/'settings.json').read_text()),load_inpainter(run_of(name)/'best.safetensors')
    assert (s['net'], s['width'], s['net_settings']) == (name, 2, net.settings) and net.name == name
    assert net.width == width_for(name, 2)
    row = list(csv.DictReader((run_of(name)/'history.csv').open()))[-1]
    assert {k[4:] for k in row if k.startswith('own_')} == {*net.needs, *net.extras}
    judge = load_file(run_of(name)/'last_d.safetensors')
    assert any(v.shape[:2] == (4, 3) for v in judge.values()), 'the judge of a gla of width 2'


@others
def test_a_budget_is_told(name, photos, tmp_path, capsys):
    assert a_run(photos, tmp_path/'run', name, '--without', 'adversarial') == 0
    width = width_for(name, 2)
    sizes = size_of(net_class(name), dict(width=width)),size_of(Inpainter, dict(width=2))
    assert f'{name} of width {width}, {sizes[0]:,} parameters (gla of width 2 has {sizes[1]:,})' in capsys.readouterr().out


@others
def test_a_run_begins_with_its_weights_and_no_others(name, photos, run_of, tmp_path, capsys):
    weights = run_of(name)/'last.safetensors'
    line = [photos, '--size', 32, '--bs', 2, '--epochs', 1, '--weights', weights]
    assert command(*line, '--out', tmp_path/'a', '--net', name, '--without', 'adversarial') == 0
    assert json.loads((tmp_path/'a/settings.json').read_text())['net_settings'] == load_inpainter(weights).settings
    def _refused(*flags):
        assert command(*line, '--out', tmp_path/'b', *flags) == 1 and not (tmp_path/'b').exists()
        said = capsys.readouterr().err
        assert said.count('\n') == 1
        return said
    assert f'holds a {name}, and the run is to have a gla' in _refused()
    assert f'is a {name} with' in _refused('--net', name, '--width', 12)
    save_inpainter(Inpainter(2), tmp_path/'gla.safetensors')
    assert f'holds a gla, and the run is to have a {name}' in _refused('--net', name, '--weights', tmp_path/'gla.safetensors')


@pytest.mark.parametrize('flags,says', [
    ('--net nothing', 'invalid choice'), ('--net tiny --without mpga', 'a tiny has no such part'), ('--own', 'gla has no further losses')])
def test_options_that_make_no_sense(photos, tmp_path, capsys, flags, says):
    try: status = command(photos, '--out', tmp_path/'run', *flags.split())
    except SystemExit as e: status = e.code
    assert status and says in capsys.readouterr().err and not (tmp_path/'run').exists()


def test_a_run_keeps_its_network(run_of, capsys):
    assert command('--resume', run_of('tiny'), '--net', 'gla') == 1 and 'another --net' in capsys.readouterr().err


@others
def test_evaluate_finds_the_network(name, photos, run_of, tmp_path):
    evaluate.make_holes(tmp_path/'holes', 1, (32, 36))
    args = photos,'--holes',tmp_path/'holes','--weights',run_of(name)/'best.safetensors','--out',tmp_path/'out'
    assert evaluate.main([str(a) for a in args]) == 0
    table = list(csv.DictReader((tmp_path/'out/table.csv').open()))
    assert {r['method'] for r in table} == {name}
    assert f'| {name} |' in (tmp_path/'out/table.md').read_text()


def a_rank(rank, port, name, folder):
    os.environ |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2', RANK=str(rank), LOCAL_RANK=str(rank))
    set_seed(0)
    learn = get_learner(loaders(9, bs=1), 2, net=small(name), own=True if net_class(name).extras else None)
    with learn.distrib_ctx(), learn.no_bar(), learn.no_logging(): learn.fit(1)
    torch.save(learn.model.state_dict(), folder/f'{rank}.pt')

@others
def test_two_processes_stay_equal(name, tmp_path):
    "Forks, which need not import everything again"
    from test_ranks import free_port
    port,fork = free_port(),multiprocessing.get_context('fork')
    ranks = [fork.Process(target=a_rank, args=(r, port, name, tmp_path)) for r in (0, 1)]
    for p in ranks: p.start()
    for p in ranks: p.join(120)
    assert [p.exitcode for p in ranks] == [0, 0]
    a,b = (torch.load(tmp_path/f'{r}.pt') for r in (0, 1))
    assert all(torch.equal(x, y) for x,y in zip(a.values(), b.values(), strict=True))
    assert any(not torch.equal(x, y) for x,y in zip(a.values(), small(name).state_dict().values()))


# ---- what a file may say

@pytest.mark.parametrize('about,says', [
    (dict(net='os:system'), "no network 'os:system'"), (dict(net=''), "no network ''"), (dict(net='tiny\n'), 'no network'),
    (dict(net='tiny'), 'its tensors are not'), (dict(net='tiny', settings='{"width": 6}'), 'its tensors are not'),
    (dict(net='gla', settings='{"width": 4}'), 'it says that it holds a gla'), (dict(net='tiny', settings='{'), 'does not say what'),
    (dict(net='tiny', settings='[4]'), 'no settings'), (dict(net='tiny', settings='{"depth": 4}'), "no setting 'depth'"),
    *((dict(net='tiny', settings=f'{{"width": {v}}}'), 'cannot have width') for v in ('0', '-4', '10000000', '4.0', 'true', 'NaN', 'null', '"4"', '[4]')),
    (dict(net='tiny', settings='{"width": 4, "kind": "os"}'), "cannot have kind = 'os'"), (dict(net='tiny', settings='['*100000), 'tiny')])
def test_a_file_that_says_something_else(about, says, tmp_path):
    save_file({k: v.contiguous() for k,v in small('tiny').state_dict().items()}, tmp_path/'tiny.safetensors', about)
    with pytest.raises(InpaintError, match=says) as e: load_inpainter(tmp_path/'tiny.safetensors')
    assert '\n' not in str(e.value) and len(str(e.value)) < 600


@others
def test_a_file_without_a_name_is_taken_for_ours(name, tmp_path):
    "As all files were before there were names"
    save_file({k: v.contiguous() for k,v in small(name).state_dict().items()}, tmp_path/'w.safetensors')
    with pytest.raises(InpaintError, match='not the weights of an Inpainter'): load_inpainter(tmp_path/'w.safetensors')
    save_file({k: v.contiguous() for k,v in small('gla').state_dict().items()}, tmp_path/'w.safetensors')
    assert load_inpainter(tmp_path/'w.safetensors').name == 'gla'


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    class Nameless(Tiny): name = 'nameless'
    net = Inpainter(2)
    net.settings['width'] = 10**6
    for wrong,says in ((Nameless(), "no network 'nameless'"), (net, 'cannot have width')):
        with pytest.raises(InpaintError, match=says): save_inpainter(wrong, tmp_path/'w.safetensors')
    assert not list(tmp_path.iterdir())
