"gla_train: killed at any moment it goes on exactly; disks that are full, photos that are gone, checkpoints that are damaged."
import csv, json, math, os, random, re, resource, shutil, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from safetensors.torch import load_file
from gla_inpaint import train
from gla_inpaint.train import main, read_checkpoint, write_checkpoint

FLAGS = '--size 32 --bs 2 --width 2 --lr 1e-3'.split()


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder,rng = tmp_path_factory.mktemp('photos'),np.random.default_rng(0)
    for i in range(14): Image.fromarray(rng.integers(0, 255, (40, 44, 3), np.uint8)).save(folder/f'{i:02d}.png')
    return folder


def newest(run): return max((p.name for p in (run/'checkpoints').glob('[0-9]*.pt')), default='')
def ending(run): return read_checkpoint(run/'checkpoints')


def same(a, b):
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(same(x, y) for x,y in zip(a, b))
    return a == b or a != a and b != b


def assert_equal_runs(a, b):
    "Both networks, both optimizers and the log, bit for bit; minutes alone may differ"
    a,b = ending(a),ending(b)
    assert a['finished'] and b['finished'] and a['train_iter'] == b['train_iter']
    for key in ('nets', 'opts', 'pct_train'): assert same(a[key], b[key]), key
    for x,y in zip(a['history'], b['history'], strict=True): assert same(x | dict(minutes=0), y | dict(minutes=0))


# In a process of its own: SIGKILL

DIE = """
import os, signal, sys
from gla_inpaint import train
left,replace = int(sys.argv[1]),os.replace
def die(*args):
    global left
    left -= 1
    if not left: os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = die
sys.exit(train.main(sys.argv[2:]))
"""

def start(*args, die=0):
    "The command; with `die` it kills itself in its so many-th write, when the bytes are there and the name is not yet"
    command = ['-c', DIE, die] if die else ['-m', 'gla_inpaint.train']
    return subprocess.Popen([sys.executable, *map(str, [*command, *args])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'))


def kill_after(process, run, steps, delay):
    "Wait for so many steps and a little longer, then kill"
    step = lambda: int(newest(run)[:8] or 0)
    goal = step()+steps
    while process.poll() is None and step() < goal: time.sleep(.002)
    time.sleep(delay)
    process.kill()


def kill_and_resume(photos, tmp_path, kills, epochs, most):
    rng,run,flags = random.Random(kills),tmp_path/'killed',[*FLAGS, '--epochs', epochs, '--save-every', 1]
    whole = start(photos, '--out', tmp_path/'whole', *flags)
    command,last,written = [photos, '--out', run, *flags],0,0
    for k in range(kills):
        process = start(*command, die=rng.randint(2, 2*most) if k%2 else 0)
        if k%2 == 0: kill_after(process, run, rng.randint(1, most), rng.uniform(0, .05))
        output,_ = process.communicate()
        assert process.returncode == -9, 'killed while it ran'
        if last: assert f'going on from step {last}' in output
        written += any(run.rglob('.gla-*'))
        last = int(newest(run)[:8] or 0)
        assert not last or read_checkpoint(run/'checkpoints')['train_iter'] == last, 'the newest checkpoint is whole'
        command = ['--resume', run]
    process = start('--resume', run)
    output,_ = process.communicate()
    assert process.returncode == 0 and f'going on from step {last}' in output
    assert written >= kills//2 and not list(run.rglob('.gla-*')), 'files were cut off, and what was half written is gone now'
    assert whole.wait() == 0, whole.stdout.read()
    assert_equal_runs(run, tmp_path/'whole')


def test_three_kills(photos, tmp_path): kill_and_resume(photos, tmp_path, 3, 6, 5)

@pytest.mark.slow
def test_twenty_kills(photos, tmp_path): kill_and_resume(photos, tmp_path, 20, 20, 2)


# In this process

def stop_after(monkeypatch, step):
    "Ctrl-C after so many steps"
    save = train.Checkpoints.after_batch
    def after_batch(self):
        save(self)
        if self.training and self.train_iter == step: raise KeyboardInterrupt
    monkeypatch.setattr(train.Checkpoints, 'after_batch', after_batch)


def interrupted(photos, run, monkeypatch, step, *flags):
    with monkeypatch.context() as m:
        stop_after(m, step)
        assert main([str(a) for a in (photos, '--out', run, *FLAGS, *flags)]) == 130
    return run


@pytest.fixture(scope='module')
def whole(photos, tmp_path_factory):
    run = tmp_path_factory.mktemp('whole')/'run'
    assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 2, '--save-every', 2)]) == 0
    return run


def test_what_a_run_leaves(photos, whole):
    settings = json.loads((whole/'settings.json').read_text())
    assert settings['lr'] == 1e-3 and torch.__version__.startswith(settings['versions']['torch']) and len(settings['train']) == 13
    with open(whole/'history.csv') as f: rows = list(csv.DictReader(f))
    assert [r['step'] for r in rows] == ['6', '12'] and all(float(r['l1']) > 0 and float(r['d_loss']) > 0 for r in rows)
    assert Image.open(whole/'samples/epoch_0002.jpg').size[0] > 300
    assert {p.name for p in whole.glob('*.safetensors')} == {'best.safetensors', 'last.safetensors', 'last_d.safetensors'}


def rate(step, steps):
    "Flat for three quarters of the run, then along a cosine to nothing"
    return 1e-3*min(1, (1+math.cos(math.pi*(4*step/steps-3)))/2 if step > .75*steps else 1)


def test_the_rate_follows_its_schedule(whole):
    assert [r['lr'] for r in ending(whole)['history']] == pytest.approx([1e-3, rate(11, 12)], rel=1e-3) and rate(11, 12) < 5e-4


def test_an_interrupt_says_how_to_go_on(photos, whole, tmp_path, monkeypatch, capsys):
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, '--epochs', 2, '--save-every', 2)
    assert f'gla_train --resume {run} goes on' in capsys.readouterr().err
    assert main(['--resume', str(run)]) == 0 and 'going on from step 8' in capsys.readouterr().out
    assert_equal_runs(run, whole)
    assert main(['--resume', str(run)]) == 0 and 'finished, after 12 steps' in capsys.readouterr().out


def test_without_a_checkpoint_it_starts_anew(photos, whole, tmp_path, monkeypatch, capsys):
    run = interrupted(photos, tmp_path/'run', monkeypatch, 1, '--epochs', 2, '--save-every', 2)
    assert main(['--resume', str(run)]) == 0 and 'starting' in capsys.readouterr().out
    assert_equal_runs(run, whole)


@pytest.mark.parametrize('damage', [lambda b: b[:len(b)//2], lambda b: b[:900]+bytes([b[900]^4])+b[901:], lambda b: b''])
def test_a_damaged_checkpoint_falls_back(photos, whole, tmp_path, monkeypatch, capsys, damage):
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, '--epochs', 2, '--save-every', 2)
    bad = run/'checkpoints'/newest(run)
    bad.write_bytes(damage(bad.read_bytes()))
    assert main(['--resume', str(run)]) == 0
    out = capsys.readouterr().out
    assert f'{bad} is damaged' in out and 'going on from step 6' in out and bad.with_suffix('.broken').exists()
    assert_equal_runs(run, whole)


def test_what_others_have_put_into_a_run_stays(photos, whole, tmp_path, monkeypatch):
    "Photos that rsync has brought half, or a second run, in a folder within the run; cleaning looks into our own folders alone"
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, '--epochs', 2, '--save-every', 2)
    theirs = [run/'photos/.12-a.jpg.Xk2', run/'photos/.gla-b.jpg', run/'.12-notes', run/'checkpoints/.3-x', run/'samples/deep/.gla-c.jpg']
    ours = [run/'.gla-0a', run/'checkpoints/.gla-0b.pt', run/'samples/.gla-0c.jpg']
    for f in theirs+ours: f.parent.mkdir(exist_ok=True); f.write_bytes(b'half')
    assert main(['--resume', str(run)]) == 0
    assert all(f.read_bytes() == b'half' for f in theirs) and not any(f.exists() for f in ours)


def test_a_full_disk(photos, whole, tmp_path, monkeypatch, capsys):
    "No file may grow beyond 10 kB from the third checkpoint on: the system refuses as it does when a disk is full"
    write,calls,limits = train.write_checkpoint,[],resource.getrlimit(resource.RLIMIT_FSIZE)
    def fill_up(*args, **kw):
        calls.append(1)
        if len(calls) == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        return write(*args, **kw)
    run = tmp_path/'run'
    with monkeypatch.context() as m:
        m.setattr(train, 'write_checkpoint', fill_up)
        try: assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 2, '--save-every', 2)]) == 1
        finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capsys.readouterr().err
    assert 'File too large' in err and f'gla_train --resume {run} goes on' in err and 'Traceback' not in err
    assert not list((run/'checkpoints').glob('.*')) and newest(run).startswith('00000004')
    assert main(['--resume', str(run)]) == 0 and 'going on from step 4' in capsys.readouterr().out
    assert_equal_runs(run, whole)


def test_a_vanished_photo_is_named_and_replaced(photos, tmp_path, monkeypatch, capsys):
    folder = tmp_path/'photos'
    folder.mkdir()
    for p in photos.iterdir(): (folder/p.name).write_bytes(p.read_bytes())
    run = interrupted(folder, tmp_path/'run', monkeypatch, 5, '--epochs', 2, '--save-every', 2)
    gone = Path(json.loads((run/'settings.json').read_text())['train'][3])
    gone.unlink()
    process = start('--resume', run)
    output,_ = process.communicate()
    assert process.returncode == 0 and f'skipping {gone}' in output
    for p in folder.iterdir(): p.unlink()
    other = tmp_path/'other'
    other.mkdir()
    (other/'settings.json').write_text((run/'settings.json').read_text())
    assert main(['--resume', str(other)]) == 1
    assert 'can be read any more' in capsys.readouterr().err


def test_minutes_end_cleanly(photos, tmp_path, monkeypatch, capsys):
    run = interrupted(photos, tmp_path/'run', monkeypatch, 3, '--minutes', .25, '--save-every', 2)
    before = ending(run)['spent']
    assert main(['--resume', str(run)]) == 0
    end = ending(run)
    assert end['finished'] and 0 < before < .25 <= end['spent'] and end['history'][-1]['step'] == end['train_iter'], 'the last, unfinished epoch is validated too'
    assert main(['--resume', str(run)]) == 0 and 'finished' in capsys.readouterr().out


def test_bfloat16_and_ablations_resume_exactly(photos, tmp_path, monkeypatch):
    flags = '--bf16', '--colour', '--without', 'gla', 'adversarial', '--epochs', 1, '--save-every', 2
    run = interrupted(photos, tmp_path/'run', monkeypatch, 3, *flags)
    assert main(['--resume', str(run)]) == 0 and main([str(a) for a in (photos, '--out', tmp_path/'whole', *FLAGS, *flags)]) == 0
    assert_equal_runs(run, tmp_path/'whole')
    assert len(ending(run)['nets']) == 1


def test_trackers(photos, tmp_path, monkeypatch, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    go = lambda name,track: main([str(a) for a in (photos, '--out', tmp_path/name, *FLAGS, '--epochs', 1, '--track', track)])
    assert go('board', 'tensorboard') == 0
    events = EventAccumulator(str(tmp_path/'board/tensorboard'))
    events.Reload()
    assert events.Scalars('psnr')[0].step == 6 and 'l1 20-30' in events.Tags()['scalars']
    class Wandb:
        rows,Settings = [],dict
        def init(self, **kw): self.kw = kw
        def log(self, row, step): self.rows.append((step, row))
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    assert go('wandb', 'wandb') == 0 and wandb.rows[-1][0] == 6 and 'gap' in wandb.rows[-1][1] and wandb.kw['config']['bs'] == 2
    sent = json.dumps([{k: v for k,v in wandb.kw.items() if k != 'dir'}, wandb.rows], default=str)
    assert str(tmp_path) not in sent and str(photos) not in sent and '.png' not in sent, 'no paths, no names of photos'
    assert wandb.kw['settings'] == dict(console='off', disable_git=True, disable_code=True, x_disable_meta=True)
    class Error(Exception): pass
    def init(**kw): raise Error('api_key not configured (no-tty)')
    wandb.init = init
    assert go('out', 'wandb') == 1
    assert "api_key not configured (no-tty): log in with 'wandb login', or set WANDB_MODE=offline" in capsys.readouterr().err
    assert again(tmp_path/'out', '--track', 'csv') == 0, 'the run goes on without it'
    monkeypatch.setitem(sys.modules, 'wandb', None)
    assert go('none', 'wandb') == 1 and "pip install 'gla_inpaint[tracking]'" in capsys.readouterr().err


@pytest.mark.parametrize('args,words', [
    ([], 'give PHOTOS and --out RUN'), (['x'], 'give PHOTOS and --out RUN'), (['x', '--out', 'y', '--resume', 'y'], 'alone'), (['x', '--resume', 'y'], 'alone'), (['x', '--out', 'y', '--photos', 'z'], '--photos goes with --resume'),
    (['x', '--out', 'y', '--size', '8'], '8 is not from 16'), (['x', '--out', 'y', '--epochs', '1', '--minutes', '2'], 'not allowed'), (['x', '--out', 'y', '--without', 'hinge'], 'invalid choice'),
    *((['x', '--out', 'y', flag, value], f'{value} is not from') for flag,value in (('--minutes', '0'), ('--minutes', 'nan'), ('--minutes', 'inf'), ('--lr', 'nan'), ('--lr', '0'), ('--epochs', '0'), ('--bs', '0'), ('--adversarial-from', '2')))])
def test_wrong_arguments(args, words, capsys):
    with pytest.raises(SystemExit) as e: main(args)
    assert e.value.code == 2 and words in capsys.readouterr().err


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit): main(['--help'])
    assert len(capsys.readouterr().out.splitlines()) <= 45


@pytest.mark.slow
def test_compiled_training_gives_the_same_losses(photos, tmp_path):
    for name,flags in (('plain', []), ('compiled', ['--compile'])):
        assert main([str(a) for a in (photos, '--out', tmp_path/name, *FLAGS, '--epochs', 1, *flags)]) == 0
    a,b = (ending(tmp_path/n)['history'][0] for n in ('plain', 'compiled'))
    for k in ('recon', 'd_loss', 'l1'): assert a[k] == pytest.approx(b[k], rel=1e-2)


# A run's name, its length, its photos

def again(run, *args): return main([str(a) for a in ('--resume', run, *args)])


def test_weights_whose_checkpoints_were_removed_are_not_written_over(photos, whole, tmp_path, capsys):
    run = tmp_path/'run'
    shutil.copytree(whole, run)
    shutil.rmtree(run/'checkpoints')
    before = {f: f.read_bytes() for f in run.rglob('*') if f.is_file()}
    assert again(run) == 1
    assert f'--out OTHER --weights {run}/last.safetensors' in capsys.readouterr().err
    assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 1)]) == 1
    (run/'settings.json').unlink()
    assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 1)]) == 1
    assert 'of another run: choose another --out' in capsys.readouterr().err
    assert all(f.read_bytes() == b for f,b in before.items() if f.name != 'settings.json')


def test_no_weights_stand_without_a_checkpoint(photos, whole, tmp_path, monkeypatch):
    "Killed before the first checkpoint is due, with an epoch behind it"
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, '--epochs', 2)
    assert (run/'best.safetensors').exists() and newest(run).startswith('00000006')
    assert again(run) == 0
    assert_equal_runs(run, whole)


@pytest.mark.parametrize('flags,name', [('--lr 1e-5', '--lr'), ('--bs 4 --size 64', '--bs and --size'), ('--bf16', '--bf16'),
                                        ('--without gla', '--without'), ('--d-warmup 3', '--d-warmup'), ('--weights w', '--weights')])
def test_options_that_a_run_cannot_take_any_more(whole, capsys, flags, name):
    assert again(whole, *flags.split()) == 1
    assert f'with another {name}, which cannot change' in capsys.readouterr().err
    assert again(whole, *FLAGS) == 0, 'the same as before is no change'


def test_a_longer_run(photos, tmp_path, monkeypatch, capsys):
    "Extended before its rate fell it is the run that was meant so from the start"
    run = interrupted(photos, tmp_path/'run', monkeypatch, 8, '--epochs', 2, '--save-every', 2)
    assert again(run, '--epochs', 3) == 0
    assert json.loads((run/'settings.json').read_text())['epochs'] == 3
    assert main([str(a) for a in (photos, '--out', tmp_path/'long', *FLAGS, '--epochs', 3, '--save-every', 2)]) == 0
    assert_equal_runs(run, tmp_path/'long')
    assert again(run, '--epochs', 2) == 1 and '3 epochs are done already' in capsys.readouterr().err
    assert again(run, '--epochs', 3) == 0 and 'finished, after 18 steps' in capsys.readouterr().out


def test_a_finished_run_is_made_longer(photos, whole, tmp_path, capsys):
    run = tmp_path/'run'
    shutil.copytree(whole, run)
    assert again(run, '--epochs', 3) == 0 and 'going on from step 12' in capsys.readouterr().out
    end = ending(run)
    assert end['train_iter'] == 18 and [r['step'] for r in end['history']] == [6, 12, 18]
    assert [r['lr'] for r in end['history']] == pytest.approx([rate(5, 12), rate(11, 12), rate(17, 18)], rel=1e-3)
    assert again(run, '--minutes', end['spent']+.05) == 0
    assert ending(run)['train_iter'] > 18 and ending(run)['spent'] >= end['spent']+.05
    assert again(run, '--minutes', .01) == 1 and 'minutes are spent' in capsys.readouterr().err


def test_photos_that_have_moved(photos, whole, tmp_path, monkeypatch, capsys):
    first,run,now = tmp_path/'first',tmp_path/'run',tmp_path/'disk/now'
    for i,p in enumerate(sorted(photos.glob('*.png'))):
        (first/f'{i%2}').mkdir(parents=True, exist_ok=True)
        shutil.copy(p, first/f'{i%2}/{i//2}.png')              # the same names in two folders
    flags = ['--epochs', 2, '--save-every', 2]
    assert main([str(a) for a in (first, '--out', tmp_path/'straight', *FLAGS, *flags)]) == 0
    run = interrupted(first, tmp_path/'run', monkeypatch, 9, *flags)
    now.parent.mkdir()
    first.rename(now)
    gone = now/'0/3.png'
    held = gone.read_bytes()
    gone.unlink()
    assert again(run, '--photos', now) == 1 and f'3.png of this run is not in {now}' in capsys.readouterr().err
    gone.write_bytes(held+b'x')
    assert again(run, '--photos', now) == 1 and 'another photo than this run' in capsys.readouterr().err
    gone.write_bytes(held)
    assert again(run, '--photos', tmp_path/'nowhere') == 1 and 'no folder' in capsys.readouterr().err
    assert again(run, '--photos', now) == 0
    assert all(str(now) in p for p in json.loads((run/'settings.json').read_text())['train'])
    assert_equal_runs(run, tmp_path/'straight')


def test_a_start_that_fails_leaves_the_name_free(photos, whole, tmp_path, monkeypatch, capsys):
    line = [str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, '--epochs', 1)]
    weights = ['--weights', str(whole/'last.safetensors')]
    with monkeypatch.context() as m:
        m.setattr(train, 'run_learner', lambda s: (_ for _ in ()).throw(OSError('no disk')))
        assert main(line + weights) == 1 and 'nothing had been saved yet' in capsys.readouterr().err
    assert (tmp_path/'run/start_d.safetensors').exists()
    assert main(line) == 0 and not list((tmp_path/'run').glob('start*')), 'nothing is left of the other start'
    assert main(line) == 1 and 'holds a run already' in capsys.readouterr().err


def test_a_second_process_in_a_run_is_refused(photos, whole, tmp_path, capsys):
    "The lock goes with its owner, even where loader processes outlive it"
    run = tmp_path/'run'
    shutil.copytree(whole, run)
    owner = subprocess.Popen([sys.executable, '-c', f"""
import os, sys, time
from pathlib import Path
from gla_inpaint.train import only_here
with only_here(Path({str(run)!r})):
    print('held', flush=True)
    time.sleep(100)"""], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == 'held\n'
        assert again(run, '--epochs', 3) == 1 and f'another process trains in {run}' in capsys.readouterr().err
        assert main([str(a) for a in (photos, '--out', tmp_path/'other', *FLAGS, '--epochs', 1)]) == 0
    finally: owner.kill(); owner.wait()
    assert again(run) == 0


# Beginning with another run's weights

@pytest.mark.parametrize('flags,why', [
    ('--weights {run}/last.safetensors --width 4', 'width 4'),
    ('--weights {run}/last.safetensors --without gla', 'without gla'),
    ('--weights {run}/nowhere.safetensors', 'nowhere.safetensors'),
    ('--weights {run}/last_d.safetensors', 'not the weights of an Inpainter'),
    ('--weights {nothing}', 'is a folder: give a file in it'),
    ('--valid {run}/samples/none', 'no folder'),
    ('--valid {photos}', 'nothing is left to train on'),
    ('--bs 512', 'fewer than a batch of 512: take a smaller --bs'),
    ('--out {run}/history.csv', 'history.csv is a file'),
    ('--adversarial-from -1', '-1 is not from 0')])
def test_what_does_not_fit_is_refused_before_anything_is_written(photos, whole, tmp_path, capsys, flags, why):
    line = [str(photos), '--out', str(tmp_path/'run'), '--size', '32', '--bs', '2', *[f.format(run=whole, photos=photos, nothing='') for f in flags.split()]]
    try: status = main(line)
    except SystemExit as e: status = e.code
    err = capsys.readouterr().err
    assert status and why in err and 'Traceback' not in err and not (tmp_path/'run').exists()


def test_no_photos_and_no_run(tmp_path, capsys):
    nowhere = tmp_path/'nowhere'
    assert main([str(nowhere), '--out', str(tmp_path/'run')]) == main(['--resume', str(nowhere)]) == 1
    err = capsys.readouterr().err
    assert f'there is no folder {nowhere}' in err and f'there is no run in {nowhere}' in err and not (tmp_path/'run').exists()


def test_a_checkpoint_takes_the_place_of_an_older_one_of_its_step(tmp_path):
    for step,run in ((10, 0), (20, 0), (30, 0), (30, 1)): write_checkpoint(tmp_path, step, dict(step=step, run=run))
    assert [f.name[:8] for f in sorted(tmp_path.iterdir())] == ['00000020', '00000030'] and read_checkpoint(tmp_path)['run'] == 1


@pytest.mark.parametrize('keep', [1, 2, 3])
def test_as_many_checkpoints_stay_as_are_asked_for(tmp_path, keep):
    for step in (10, 20, 30, 40): write_checkpoint(tmp_path, step, dict(step=step), keep)
    assert [f.name[:8] for f in sorted(tmp_path.iterdir())] == ['00000010', '00000020', '00000030', '00000040'][-keep:]


def test_where_all_checkpoints_are_damaged_there_is_none(tmp_path, capsys):
    for step in (10, 20): write_checkpoint(tmp_path, step, dict(step=step))
    for f in tmp_path.iterdir(): f.write_bytes(f.read_bytes()[:300])
    assert read_checkpoint(tmp_path) is None and capsys.readouterr().out.count('is damaged') == 2
    assert [f.suffix for f in tmp_path.iterdir()] == ['.broken']*2


def test_the_discriminator_waits_for_its_share(photos, tmp_path):
    flags = '--size 32 --bs 2 --width 2 --epochs 1 --adversarial-from .5'.split()
    assert main([str(photos), '--out', str(tmp_path/'run'), *flags]) == 0
    state = ending(tmp_path/'run')
    assert state['parts']['d_loss'][1] == state['train_iter']//2


@pytest.mark.parametrize('text', ['{"size": 3', '{"size": 3}', '[]', '"x"', ''])
def test_settings_that_somebody_has_broken(tmp_path, capsys, text):
    (tmp_path/'settings.json').write_text(text)
    assert main(['--resume', str(tmp_path)]) == 1
    assert 'settings.json has been changed' in capsys.readouterr().err


CPU_FULL = '[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 4398046511104 bytes.'

@pytest.mark.parametrize('error,words', [
    (MemoryError('x'), 'smaller --bs'), (torch.cuda.OutOfMemoryError('of so and so many GiB'), 'smaller --bs'), (RuntimeError(CPU_FULL), 'smaller --bs'),
    (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), 'a process that reads photos was killed'),
    (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'), 'a process that reads photos was killed'),
    (FloatingPointError('in a callback:\n\trecon is nan'), 'recon is nan. Begin another run with a smaller --lr'),
    (KeyError('omega'), "KeyError: 'omega' (more in {run}/error.txt)"), (Exception(), 'Exception: Exception (more in'),
    (RuntimeError('mat1 and mat2'), 'RuntimeError: mat1 and mat2 (more in'), (KeyboardInterrupt(), 'interrupted; nothing had been saved yet')])
def test_every_error_is_one_line(tmp_path, monkeypatch, capsys, error, words):
    (tmp_path/'settings.json').write_text(json.dumps(dict(train=[], valid=[], width=2, bs=2)))
    def broken(out, **changes): raise error
    monkeypatch.setattr(train, 'train_run', broken)
    assert main(['--resume', str(tmp_path)]) == (130 if isinstance(error, KeyboardInterrupt) else 1)
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and words.format(run=tmp_path) in err
    assert (tmp_path/'error.txt').exists() == ('more in' in words)


def test_the_cpu_runs_out_of_memory(photos, tmp_path, capsys, monkeypatch):
    "What torch says then, as it is"
    monkeypatch.setattr(train, 'start_from', None)
    monkeypatch.setattr(train, 'restore', None)
    monkeypatch.setattr(train, '_fit', lambda *_: torch.empty(2**50))
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS)]) == 1
    assert 'out of memory: begin another run with a smaller --bs' in capsys.readouterr().err


def test_an_error_without_a_word_is_named_too(photos, tmp_path, monkeypatch, capsys):
    "Python's own MemoryError says nothing, and fastai asks what it says"
    def full(*args): raise MemoryError
    monkeypatch.setattr(train.Validation, 'after_validate', full)
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, '--epochs', 1)]) == 1
    assert 'out of memory: begin another run with a smaller --bs' in capsys.readouterr().err


def test_a_console_that_cannot_print_a_name(photos, tmp_path):
    run = tmp_path/'Zürich 東京'
    process = subprocess.run([sys.executable, '-m', 'gla_inpaint.train', str(photos), '--out', str(run), *FLAGS, '--epochs', '1'],
                             capture_output=True, env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONIOENCODING='ascii', PYTHONUTF8='0'))
    assert process.returncode == 0 and b'Z\\xfcrich' in process.stdout and (run/'best.safetensors').exists()


@pytest.mark.parametrize('how', [['-m', 'gla_inpaint.train'], ['-c', 'import sys; sys.argv[0] = "/bin/gla_train"; import gla_inpaint.train']])
def test_ctrl_c_while_torch_is_imported(tmp_path, how):
    (tmp_path/'torch.py').write_text('raise KeyboardInterrupt')
    path = f'{tmp_path}{os.pathsep}{Path(train.__file__).parent.parent}'
    process = subprocess.run([sys.executable, *how], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path))
    assert process.returncode in (130, -2) and process.stderr.count('\n') == 1 and process.stderr.endswith(': interrupted\n')


def test_a_loss_that_is_not_a_number_names_the_remedy(photos, whole, tmp_path, capsys):
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS[:-1], 1e8, '--epochs', 2, '--save-every', 1)]) == 1
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and 'is nan in epoch' in err and f'Begin another run with a smaller --lr and --weights {tmp_path}/run/last.safetensors' in err


# What a flag promises

def nets_of(monkeypatch, photos, out, *flags):
    "Start the command, and keep the learner that it makes; nothing is trained"
    made = []
    monkeypatch.setattr(train, '_fit', lambda out, s, learn, state: made.append(learn))
    assert main([str(a) for a in (photos, '--out', out, *FLAGS, *flags)]) == 0
    return made[0]


def test_compile_compiles_both_networks(photos, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self: compiled.append(self))
    learn = nets_of(monkeypatch, photos, tmp_path/'a', '--compile')
    assert compiled == [learn.model, learn.rival.net]
    nets_of(monkeypatch, photos, tmp_path/'b')
    assert len(compiled) == 2, 'and nobody is compiled unasked'


def test_bf16_computes_in_bfloat16(photos, tmp_path, monkeypatch):
    seen = {}
    for name,flags in (('half', ['--bf16']), ('whole', [])):
        learn = nets_of(monkeypatch, photos, tmp_path/name, *flags)
        kinds = seen[name] = set()
        for net in (learn.model.coarse.regular[0], learn.rival.net):
            net.register_forward_hook(lambda m, x, y: kinds.add(y.dtype))
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert seen == dict(half={torch.bfloat16}, whole={torch.float32})


@pytest.mark.parametrize('l1,best', [([5., 3., 4.], 2), ([3., 4., 5.], 1), ([5., 4., 3.], 3)])
def test_the_best_epoch_has_the_lowest_l1(photos, tmp_path, monkeypatch, l1, best):
    values,kept = iter(l1),[]
    after,write = train.Validation.after_validate,train.RunLog.write
    def told(self): after(self); self.means = self.means | dict(l1=next(values), psnr=10., ssim=len(kept))
    def keep(self, row): write(self, row); kept.append({k: v.clone() for k,v in self.model.state_dict().items()})
    monkeypatch.setattr(train.Validation, 'after_validate', told)
    monkeypatch.setattr(train.RunLog, 'write', keep)
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, '--epochs', 3)]) == 0
    assert same(load_file(tmp_path/'run/best.safetensors'), kept[best-1])


def test_minutes_before_a_resume_count(photos, tmp_path, monkeypatch):
    "By a clock that goes on by a second each time somebody looks"
    now = iter(range(10**6))
    monkeypatch.setattr(train.time, 'monotonic', lambda: next(now))
    go = lambda name: main([str(a) for a in (photos, '--out', tmp_path/name, *FLAGS, '--minutes', 2, '--save-every', 1)])
    assert go('whole') == 0
    run = interrupted(photos, tmp_path/'run', monkeypatch, 8, '--minutes', 2, '--save-every', 1)
    assert again(run) == 0
    a,b = (ending(tmp_path/n) for n in ('whole', 'run'))
    assert a['train_iter'] > 8 and abs(a['train_iter']-b['train_iter']) <= 3 and 2 <= b['spent'] < 2.2


def test_validation_measures_the_composite_of_the_middle_of_each_photo(photos, tmp_path, monkeypatch):
    from gla_inpaint.generator import composite
    from gla_inpaint.metrics import inpaint_metrics
    run = tmp_path/'run'
    assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 1, '--valid', photos, '--seed', 3)]) == 1
    held = tmp_path/'held'
    held.mkdir()
    for p in sorted(photos.glob('*.png'))[:5]: shutil.copy(p, held)
    assert main([str(a) for a in (photos, '--out', run, *FLAGS, '--epochs', 1, '--valid', held)]) == 0
    from gla_inpaint.weights import load_inpainter
    net,s = load_inpainter(run/'last.safetensors', 'cpu'),json.loads((run/'settings.json').read_text())
    ds = train.make_loaders([Path(p) for p in s['train']], [Path(p) for p in s['valid']], 32, 2, valid_ratio=(.2, .5)).valid_ds
    holed,mask,truth = (torch.stack(t) for t in zip(*(ds[i] for i in range(5))))
    with torch.no_grad(): values = inpaint_metrics(composite(net(holed, mask)[1], holed, mask), truth, mask)
    with open(run/'history.csv') as f: row, = csv.DictReader(f)
    for k,v in values.items(): assert float(row[k]) == pytest.approx(v.mean().item(), rel=1e-4), k


def test_what_a_gpu_is_set_to(monkeypatch):
    was = torch.get_float32_matmul_precision(),torch.backends.cudnn.benchmark
    try:
        train._fast_gpu()
        assert (torch.get_float32_matmul_precision(),torch.backends.cudnn.benchmark) == was, 'nothing without a GPU'
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        train._fast_gpu()
        assert torch.get_float32_matmul_precision() == 'high' and torch.backends.cudnn.benchmark and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(was[0])
        torch.backends.cudnn.benchmark = was[1]


def test_a_run_with_torchs_fused_adam_resumes_exactly(photos, tmp_path, monkeypatch):
    "What a GPU uses, here on a CPU"
    from functools import partial
    from gla_inpaint import learner
    monkeypatch.setattr(learner, 'adam', partial(learner.adam, fused=True))
    flags = '--epochs', 2, '--save-every', 2
    assert main([str(a) for a in (photos, '--out', tmp_path/'whole', *FLAGS, *flags)]) == 0
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, *flags)
    assert again(run) == 0
    assert_equal_runs(run, tmp_path/'whole')


def test_a_checkpoint_does_not_grow_with_its_epoch(photos, tmp_path, monkeypatch):
    "Sums and counts of the losses, however many steps an epoch has"
    run = interrupted(photos, tmp_path/'run', monkeypatch, 5, '--epochs', 1, '--save-every', 2)
    parts = ending(run)['parts']
    assert parts.keys() == {'recon', 'saturated', 'd_loss', 'g_adv', 'gap', 'told_apart'} and all(n == 4 and isinstance(s, float) for s,n in parts.values())


def test_a_run_that_began_with_weights_needs_them_no_more(photos, whole, tmp_path, monkeypatch, capsys):
    "Copies in the run's own folder: the other run is gone, no checkpoint was written yet, and still it ends as an undisturbed run does"
    for name in ('last.safetensors', 'last_d.safetensors'): (tmp_path/name).write_bytes((whole/name).read_bytes())
    flags = ['--weights', tmp_path/'last.safetensors', '--epochs', 1, '--save-every', 2]
    straight = tmp_path/'straight'
    assert main([str(a) for a in (photos, '--out', straight, *FLAGS, *flags)]) == 0
    run = interrupted(photos, tmp_path/'run', monkeypatch, 1, *flags)
    for name in ('last.safetensors', 'last_d.safetensors'): (tmp_path/name).unlink()
    assert main(['--resume', str(run)]) == 0 and 'starting' in capsys.readouterr().out
    assert_equal_runs(run, straight)
    with monkeypatch.context() as m:
        m.setattr(train, 'start_from', lambda *_: None)
        assert main([str(a) for a in (photos, '--out', tmp_path/'cold', *FLAGS, '--epochs', 1, '--save-every', 2)]) == 0
    assert not same(ending(tmp_path/'cold')['nets'], ending(run)['nets']), 'it does matter'


def test_a_folder_for_validation_is_not_trained_on(photos, tmp_path):
    (photos/'held').mkdir(exist_ok=True)
    for i in range(2): Image.new('RGB', (40, 40), (i*100, 50, 50)).save(photos/'held'/f'{i}.png')
    try:
        train.new_run(photos, tmp_path/'run', valid=photos/'held', weights=None, width=2, seed=0, bs=2)
        s = json.loads((tmp_path/'run/settings.json').read_text())
        assert len(s['train']) == 14 and [Path(p).parent.name for p in s['valid']] == ['held']*2 and not set(s['train']) & set(s['valid'])
    finally:
        for f in (photos/'held').iterdir(): f.unlink()
        (photos/'held').rmdir()


def test_the_weights_that_ship_are_a_beginning(photos, tmp_path):
    "Half precision, generator and discriminator, into a run's float32 networks"
    from gla_inpaint.weights import DEFAULT_WEIGHTS
    shipped = DEFAULT_WEIGHTS.with_name('adversarial.safetensors')
    train.new_run(photos, tmp_path/'run', valid=None, weights=shipped, width=None, without=[], seed=0, bs=2, size=32, lr=1e-4, bf16=False, compile=False, adversarial_from=0.)
    learn = train.run_learner(json.loads((tmp_path/'run/settings.json').read_text()))
    train.start_from(learn, tmp_path/'run/start.safetensors')
    for net,file in ((learn.model, shipped), (learn.rival.net, train.d_file(shipped))):
        halves,state = load_file(file),net.state_dict()
        assert halves.keys() == state.keys() and all(h.dtype == torch.float16 and torch.equal(h.float(), state[k]) for k,h in halves.items())


def test_a_run_begins_with_both_networks_of_another(photos, whole, tmp_path):
    "And takes its width from them, also at another size"
    train.new_run(photos, tmp_path/'larger', weights=whole/'last.safetensors', size=48, bs=2)
    settings = json.loads((tmp_path/'larger/settings.json').read_text())
    assert settings['width'] == 2
    learn = train.run_learner(settings)
    train.start_from(learn, tmp_path/'larger/start.safetensors')
    for net,old in zip((learn.model, learn.rival.net), ending(whole)['nets'], strict=True): assert same(dict(net.state_dict()), dict(old))


# What keeps a discriminator speaking, and averaged weights

LOUD = '--lr-d 4e-3 --adv-weight .1 --d-steps 2 --d-warmup 5 --ema .9 --epochs 2 --save-every 2'.split()

@pytest.mark.parametrize('step', [3, 9])
def test_a_run_with_every_knob_resumes_exactly(photos, tmp_path, monkeypatch, step):
    "Stopped in the warm-up of the discriminator, and after it"
    assert main([str(a) for a in (photos, '--out', tmp_path/'whole', *FLAGS, *LOUD)]) == 0
    run = interrupted(photos, tmp_path/'run', monkeypatch, step, *LOUD)
    assert main(['--resume', str(run)]) == 0
    assert_equal_runs(run, tmp_path/'whole')
    a,b = ending(run),ending(tmp_path/'whole')
    assert a['warmed'] == b['warmed'] == 5 and a['average']['n'] == 7 and same(a['average'], b['average'])
    for name in ('best', 'last'): assert same(*(load_file(r/f'{name}.safetensors') for r in (run, tmp_path/'whole')))


def test_averaged_weights_are_what_a_run_gives_away(photos, tmp_path):
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, *LOUD)]) == 0
    state,last = ending(tmp_path/'run'),load_file(tmp_path/'run/last.safetensors')
    assert same(last, dict(state['average']['net'])) and not same(last, dict(state['nets'][0]))


def test_the_log_tells_whether_the_discriminator_speaks(whole):
    with open(whole/'history.csv') as f: rows = list(csv.DictReader(f))
    assert all(0 <= float(r['told_apart']) <= 1 and abs(float(r['gap'])) < 1 for r in rows)


def test_a_run_of_an_older_version_goes_on(photos, whole, tmp_path, monkeypatch):
    "Its settings know no such options, its checkpoint and rows no such numbers"
    run = interrupted(photos, tmp_path/'run', monkeypatch, 9, '--epochs', 2, '--save-every', 2)
    s = json.loads((run/'settings.json').read_text())
    for k in ('lr_d', 'adv_weight', 'd_steps', 'd_warmup', 'ema'): del s[k]
    (run/'settings.json').write_text(json.dumps(s))
    state = ending(run)
    del state['warmed']
    for parts in (*state['history'], state['parts']):
        for k in ('gap', 'told_apart'): del parts[k]
    state['parts'] = {k: [torch.tensor(s/n)]*n for k,(s,n) in state['parts'].items()}    # each step's value
    train.write_checkpoint(run/'checkpoints', state['train_iter'], state)
    assert main(['--resume', str(run)]) == 0
    a,b = ending(run),ending(whole)
    assert same(a['nets'], b['nets']) and same(a['opts'], b['opts'])
    with open(run/'history.csv') as f: assert [r['gap'] == 'nan' for r in csv.DictReader(f)] == [True, False]


def test_knobs_of_a_discriminator_that_is_left_out(capsys):
    with pytest.raises(SystemExit): main('photos --out run --without adversarial --lr-d 1e-3'.split())
    assert 'need the discriminator' in capsys.readouterr().err


def test_a_warm_up_that_leaves_nothing_for_the_generator(photos, tmp_path, capsys):
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, '--epochs', 1, '--d-warmup', 6)]) == 1
    assert 'the generator would never learn' in capsys.readouterr().err


def test_a_run_of_minutes_says_how_far_it_is_also_after_a_warm_up(photos, tmp_path, capsys):
    "The clock decides, not the thousand million epochs that such a run is given"
    assert main([str(a) for a in (photos, '--out', tmp_path/'run', *FLAGS, '--minutes', .05, '--d-warmup', 2, '--save-every', 1)]) == 0
    said = [float(share) for share in re.findall(r'([\d.]+)% done', capsys.readouterr().out)]
    assert said and said == sorted(said) and said[-1] > 20
