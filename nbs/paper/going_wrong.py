"""The long runs of going_wrong.ipynb: `python going_wrong.py [NAME ...]`, all of them where no name is given.

What runs is what the notebook shows: its cells labelled `run-...` are executed here, then each fault is trained.
Writes results/going_wrong_NAME.csv, a row for each step, and results/going_wrong_NAME.jpg, the pictures at the end."""
import json, sys, time
from pathlib import Path

HERE = Path(__file__).parent

def definitions():
    "Everything that the notebook defines in cells labelled `run-...`"
    space = {}
    for cell in json.loads((HERE/'going_wrong.ipynb').read_text())['cells']:
        source = ''.join(cell['source'])
        if source.startswith('#| label: run-'): exec(source, space)
    return space

def main(names):
    space = definitions()
    faults = space['faults']
    unknown = set(names)-set(faults)
    if unknown: sys.exit(f"no such run: {', '.join(sorted(unknown))}; there are {', '.join(faults)}")
    for name in names or faults:
        began = time.monotonic()
        learn,curves = space['small_run'](faults[name])
        curves.to_csv(HERE/f'results/going_wrong_{name}.csv', index=False, float_format='%.4g')
        space['strip'](learn.model).save(HERE/f'results/going_wrong_{name}.jpg', quality=95, subsampling=0)
        print(f'{name}: {len(curves)} steps in {time.monotonic()-began:.0f} s', flush=True)

if __name__ == '__main__': main(sys.argv[1:])
