"How commands start: before torch is loaded its threads are told to sleep, and Ctrl-C while it loads costs one line."
import os, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = dict(gla_inpaint='inference', gla_train='train', gla_evaluate='evaluate', gla_demo='demo')

def start(place, args, **env):
    "Start Python with a torch that shows the settings it is loaded under, and that is interrupted then"
    (place/'torch').mkdir()
    (place/'torch/__init__.py').write_text("import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT')); raise KeyboardInterrupt")
    clean = {k: v for k,v in os.environ.items() if k not in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')}
    return subprocess.run([sys.executable, *args], env=clean | env | {'PYTHONWARNINGS': 'ignore', 'PYTHONPATH': f'{place}{os.pathsep}{ROOT}'}, capture_output=True, text=True)

def script(place, name):
    "A command as pip installs it"
    (place/name).write_text(f'import sys\nfrom gla_inpaint.{MODULES[name]} import main\nsys.exit(main())')
    return [place/name]

@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('how', ['command', 'python -m'])
def test_a_command_has_threads_sleep_before_torch_is_loaded(name, how, tmp_path):
    got = start(tmp_path, script(tmp_path, name) if how == 'command' else ['-m', f'gla_inpaint.{MODULES[name]}'])
    assert got.stdout.strip() == 'None 1000' and got.returncode
    assert got.stderr.count('\n') == 1 and 'interrupted' in got.stderr

@pytest.mark.parametrize('env, seen', [(dict(OMP_WAIT_POLICY='ACTIVE'), 'ACTIVE None'), (dict(GOMP_SPINCOUNT='7'), 'None 7')])
def test_what_you_have_set_yourself_stays(env, seen, tmp_path): assert start(tmp_path, script(tmp_path, 'gla_inpaint'), **env).stdout.strip() == seen

def test_the_library_changes_no_settings(tmp_path):
    "In a notebook or a program of yours, threads are your business."
    assert start(tmp_path, ['-c', 'import gla_inpaint.inference']).stdout.strip() == 'None None'
