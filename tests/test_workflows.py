"What runs at GitHub: actions are pinned, rights are named, and what may publish installs nothing."
import re
from pathlib import Path

import pytest, yaml

WORKFLOWS = sorted((Path(__file__).parent.parent/'.github/workflows').glob('*.y*ml'))

def faults(text):
    "One line for each thing that a stranger could use"
    flow = yaml.safe_load(text)
    if 'permissions' not in flow: yield 'the workflow does not name its permissions'
    if 'write' in str(flow.get('permissions')): yield 'all jobs may write'
    for name,job in flow['jobs'].items():
        may_write = 'write' in str(job.get('permissions', ''))
        for step in job['steps']:
            if 'uses' in step and not re.fullmatch(r'[\w./-]+@[0-9a-f]{40}', step['uses']): yield f"{name}: {step['uses']} is not pinned"
            if may_write and ('run' in step or 'setup' in step.get('uses', '')): yield f'{name} may write, and installs or runs something'

def test_there_are_workflows(): assert len(WORKFLOWS) == 2

@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda p: p.stem)
def test_workflows(path): assert not list(faults(path.read_text(encoding='utf-8')))

@pytest.mark.parametrize('old, new, says', [('@11bd71901bbe5b1630ceea73d27597364c9af683', '@v4', 'is not pinned'), ('permissions: {}', '', 'does not name'),
                                            ('permissions: {}', 'permissions: {pages: write}', 'all jobs may write'), ('      - id: pages', '      - run: pip install x\n      - id: pages', 'may write, and installs')])
def test_faults_are_found(old, new, says):
    text = next(p for p in WORKFLOWS if p.stem == 'deploy').read_text(encoding='utf-8')
    assert old in text and any(says in f for f in faults(text.replace(old, new, 1)))
