"The wheel holds what the library needs and nothing else, and works where there is no nbdev."
import shutil, subprocess, sys, sysconfig, zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SITE = Path(sysconfig.get_paths()['purelib'])
TOOLS = ('nbdev', 'execnb', 'ghapi', 'gla_inpaint', '__editable__')     # what a user's machine does not have


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    there = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, there/'src', symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv*', 'demo', 'runs', 'build', '*.egg-info'))
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', there, there/'src'], check=True)
    return next(there.glob('*.whl'))


@pytest.fixture(scope='module')
def env(wheel, tmp_path_factory):
    "A virtual environment with the wheel in it that sees the run-time libraries but none of the tools."
    there = tmp_path_factory.mktemp('env')
    libs = there/'libs'
    libs.mkdir()
    for p in SITE.iterdir():
        if not p.name.lower().startswith(TOOLS): (libs/p.name).symlink_to(p)
    subprocess.run([sys.executable, '-m', 'venv', there/'venv'], check=True)
    subprocess.run([there/'venv/bin/python', '-m', 'pip', 'install', '--quiet', '--no-deps', wheel], check=True)
    site = next((there/'venv/lib').glob('python*/site-packages'))
    (site/'libs.pth').write_text(str(libs))
    return there/'venv/bin'


def python(env, code, cwd): return subprocess.run([env/'python', '-W', 'ignore', '-c', code], cwd=cwd, capture_output=True, text=True)


def test_wheel_holds_the_library_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    ours = [n for n in names if '.dist-info/' not in n]
    assert all(n.startswith('gla_inpaint/') and n.endswith(('.py', '.safetensors', '.md', '/static/draw.js', '/static/draw.css')) for n in ours), ours
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT/'gla_inpaint').rglob('*.py')}
    assert {n for n in ours if n.endswith('.py')} == modules
    assert {'gla_inpaint/weights/default.safetensors', 'gla_inpaint/static/draw.js', 'gla_inpaint/static/draw.css'} <= set(names)
    assert any(n.endswith('licenses/LICENSE') for n in names)


def test_works_without_the_tools(env, tmp_path):
    got = python(env, 'import nbdev', tmp_path)
    assert 'ModuleNotFoundError' in got.stderr, 'the environment must not see nbdev'
    modules = ','.join('.'.join(p.relative_to(ROOT).with_suffix('').parts) for p in (ROOT/'gla_inpaint').rglob('[a-z]*.py'))
    got = python(env, f'import gla_inpaint,{modules}; print(gla_inpaint.__file__)', tmp_path)
    assert got.returncode == 0, got.stderr
    assert 'venv/lib' in got.stdout, 'imported from the wheel, not from the checkout'


def test_fills_a_photo_with_the_weights_in_the_wheel(env, tmp_path):
    code = '''
import numpy as np
from gla_inpaint.data import sample_photos
from gla_inpaint.inference import inpaint
photo = sample_photos()['coffee']
filled = inpaint(photo, (100, 80, 160, 140))
a, b = np.asarray(photo), np.asarray(filled)
print(filled.size == photo.size, (a != b).any(-1)[80:140, 100:160].mean() > .5, (a == b).all(-1).sum() >= a.shape[0]*a.shape[1]-3600)
'''
    got = python(env, code, tmp_path)
    assert got.stdout.split() == ['True']*3, got.stderr


@pytest.mark.parametrize('command', ['gla_inpaint', 'gla_train', 'gla_evaluate', 'gla_demo'])
def test_commands_are_installed(env, command, tmp_path):
    got = subprocess.run([env/command, '--help'], cwd=tmp_path, capture_output=True, text=True)
    assert got.returncode == 0 and 'usage' in got.stdout and len(got.stdout.splitlines()) <= (24 if command == "gla_inpaint" else 44), got.stdout+got.stderr
