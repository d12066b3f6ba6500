"gla_demo as a process: what it writes, what it prints, and that equal seeds give equal numbers."
import math, re, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
import torch

from gla_inpaint.data import HELD_OUT, sample_photos
from gla_inpaint.demo import Snapshots, demo_learner, demo_photos, loss_figure
from gla_inpaint.inference import inpaint

DEMO = Path(sys.executable).with_name('gla_demo')


def demo(*args, cwd): return subprocess.run([DEMO, *map(str, args)], cwd=cwd, capture_output=True, text=True)


def table(text):
    "{(photo, method): (l1, l2, ssim, psnr)} from what the demo prints."
    rows = re.findall(r'^(\S+)\s+(mean colour|biharmonic|this network|shipped weights)((?:\s+-?[\d.]+){4})$', text, re.M)
    return {(photo,method): tuple(map(float, values.split())) for photo,method,values in rows}


def test_a_third_of_a_minute(tmp_path):
    got = demo('--minutes', .3, cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert 'stopped by --minutes' in got.stdout
    rows = table(got.stdout)
    assert {p for p,_ in rows} == {'coffee', 'chelsea'} and len(rows) == 8 and all(map(math.isfinite, sum(rows.values(), ())))
    assert all(rows[p,'biharmonic'][3] > rows[p,'mean colour'][3] for p in ('coffee', 'chelsea'))
    for name in ('result.png', 'learning.png', 'losses.png'):
        with Image.open(tmp_path/'demo'/name) as im: assert min(im.size) > 150 and np.asarray(im.convert('L')).std() > 20
    assert not list((tmp_path/'demo').glob('*.part*'))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    filled = inpaint(photo, (20, 20, 50, 50), tmp_path/'demo/inpainter.safetensors')
    assert filled.size == photo.size and np.asarray(filled)[:20].tobytes() == np.asarray(photo)[:20].tobytes()


@pytest.mark.parametrize('joined', (0, 1, 30))
def test_the_figure_shows_what_the_discriminator_says(joined):
    "Over the steps it was active in: one that never joined has no curve, and nothing fails"
    told = [torch.tensor(float(i%2)) for i in range(joined)]
    parts = dict(recon=[torch.tensor(1.)]*100, **{k: [torch.tensor(.3)]*joined for k in ('d_loss', 'g_adv', 'gap') if joined})
    axes = loss_figure(parts | (dict(told_apart=told) if joined else {})).axes
    lines = {line.get_label().split()[0]: line for ax in axes[1:] for line in ax.lines}
    assert set(lines) == {'discriminator', "generator's", 'gap', 'share'}
    for line in lines.values(): assert list(line.get_xdata()) == list(range(100-joined, 100))
    if joined: np.testing.assert_allclose(lines['gap'].get_ydata(), .3, rtol=1e-6)
    if joined == 30: np.testing.assert_allclose(lines['share'].get_ydata()[[0, 1, -1]], [0, .5, .5])   # the mean of up to 20 steps


def test_same_seed_same_numbers(tmp_path):
    runs = [demo('--steps', 4, '--seed', seed, '--out', f'd{i}', cwd=tmp_path) for i,seed in enumerate((1, 1, 2))]
    assert [r.returncode for r in runs] == [0]*3, runs[0].stderr
    a,b,c = (load_file(tmp_path/f'd{i}/inpainter.safetensors') for i in range(3))
    assert all((a[k] == b[k]).all() for k in a) and any((a[k] != c[k]).any() for k in a)
    t0,t1,t2 = (table(r.stdout) for r in runs)
    assert t0 == t1 != t2


def test_looking_at_the_fill_does_not_disturb_the_training():
    photo = sample_photos()[HELD_OUT[0]]
    def weights(cbs):
        learn = demo_learner([sample_photos()['china']], [photo], steps=2)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, cbs=cbs)
        return torch.cat([p.detach().flatten() for p in learn.model.parameters()])
    snapshots = Snapshots(photo)
    assert torch.equal(weights([]), weights([snapshots]))
    assert list(snapshots.fills) == [0, 1, 2]
    for fill in snapshots.fills.values(): assert torch.equal(fill*snapshots.mask[0], snapshots.holed[0])


def test_two_photos_are_too_few(tmp_path):
    for i in range(2): Image.new('RGB', (9,9)).save(tmp_path/f'{i}.png')
    with pytest.raises(ValueError, match='needs at least 3'): demo_photos(tmp_path)


def test_own_photos(tmp_path):
    (tmp_path/'mine').mkdir()
    rng = np.random.default_rng(0)
    for i in range(3): Image.fromarray(rng.integers(0, 255, (120, 140, 3), np.uint8)).save(tmp_path/f'mine/p{i}.png')
    got = demo('--steps', 2, '--photos', 'mine', cwd=tmp_path)
    assert got.returncode == 0, got.stderr
    assert len({p for p,_ in table(got.stdout)} & {'p0', 'p1', 'p2'}) == 2


@pytest.mark.parametrize('args, says', [(('--photos', 'nowhere'), 'nowhere'), (('--steps', 0), 'positive'), (('--out', 'file'), 'file is no folder'), (('--minutes', 'nan'), 'positive'), (('--seed', -1), 'negative')])
def test_wrong_arguments_say_so(tmp_path, args, says):
    (tmp_path/'file').write_text('in the way')
    got = demo(*args, cwd=tmp_path)
    assert got.returncode == 1 and says in got.stderr and 'Traceback' not in got.stderr


def test_interrupting_loses_nothing(tmp_path):
    assert demo('--steps', 2, cwd=tmp_path).returncode == 0
    before = {p.name: p.read_bytes() for p in (tmp_path/'demo').iterdir()}
    # where the tests themselves run in the background of a script, SIGINT is ignored, and that is inherited
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen([DEMO, '--steps', '5000'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    while 'training' not in run.stdout.readline(): assert run.poll() is None
    time.sleep(5)
    run.send_signal(signal.SIGINT)
    _,err = run.communicate(timeout=60)
    assert run.returncode == 1 and 'interrupted' in err and 'Traceback' not in err
    assert before == {p.name: p.read_bytes() for p in (tmp_path/'demo').iterdir()}
