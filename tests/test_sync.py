"The library is what the notebooks export, the notebooks are clean, the README is the index notebook."
import os, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENV = os.environ | {'PATH': f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "The project as it is, where tools may write."
    there = tmp_path_factory.mktemp('sync')/'project'
    shutil.copytree(ROOT, there, symlinks=True, ignore=shutil.ignore_patterns('.git', '.venv*', 'demo', 'runs', '__pycache__', '_proc', '_docs'))
    return there


def run(*cmd, cwd): subprocess.run(cmd, cwd=cwd, env=ENV, check=True, capture_output=True, text=True)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file() and not {'__pycache__', '.ipynb_checkpoints'} & set(p.parts)}


def differing(a, b):
    "Names of files that differ between two folders."
    a,b = contents(a),contents(b)
    return sorted(str(p) for p in a.keys() | b.keys() if a.get(p) != b.get(p))


def test_library_is_exported(copy):
    run('nbdev_export', cwd=copy)
    assert not differing(ROOT/'gla_inpaint', copy/'gla_inpaint'), 'library and notebooks differ: run make sync'


def test_every_module_has_its_notebook():
    "others/gated.py and nbs/others/04_gated.ipynb, and so on"
    def _named(root, pattern): return [p.relative_to(root).with_suffix('') for p in root.rglob(pattern) if not any(s[0] == '.' for s in p.relative_to(root).parts)]
    modules = set(_named(ROOT/'gla_inpaint', '[a-z]*.py'))
    notebooks = {p.with_name(p.name.split('_', 1)[1]) for p in _named(ROOT/'nbs', '[0-9]*_*.ipynb')
                 if '#| default_exp' in (ROOT/'nbs'/p).with_suffix('.ipynb').read_text()}
    assert modules == notebooks


def test_notebooks_are_clean(copy):
    run('nbdev_clean', cwd=copy)
    assert not differing(ROOT/'nbs', copy/'nbs'), 'notebooks carry metadata: run make sync'


def test_readme_is_the_index(copy):
    run('make', 'readme', cwd=copy)
    assert (copy/'README.md').read_text() == (ROOT/'README.md').read_text(), 'README.md is not nbs/index.ipynb: run make sync'
