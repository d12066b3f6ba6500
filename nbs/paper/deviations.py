"""The runs of deviations.ipynb: every variant, three seeds each; writes results/deviations.csv, a row for each run.

    python nbs/paper/deviations.py PHOTOS VAL

trains on the folder PHOTOS and measures on the folder VAL. Started again, it goes on with the runs that are missing.
What runs is what the notebook shows: its cells labelled `run-...` are executed here."""
import argparse, csv, json, platform, subprocess, time
from pathlib import Path

import torch
from PIL import ImageOps
from gla_inpaint.data import find_photos, load_photo
from gla_inpaint.train import write_csv

HERE = Path(__file__).parent
TABLE,SEEDS = HERE/'results/deviations.csv',(0, 1, 2)


def definitions():
    "Everything that the notebook defines in cells labelled `run-...`"
    space = {}
    for cell in json.loads((HERE/'deviations.ipynb').read_text())['cells']:
        source = ''.join(cell['source'])
        if source.startswith('#| label: run-'): exec(source, space)
    return space


def photos_of(folder, side):
    "All photographs of a folder, in memory, the shorter side twice as long as the network's"
    photos = [load_photo(p) for p in find_photos(folder)]
    return [ImageOps.scale(p, 2*side/min(p.size)) for p in photos]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('photos', 'val'): p.add_argument(name, type=Path)
    args,space = p.parse_args(),definitions()
    train,held = (photos_of(folder, space['SIZE']) for folder in (args.photos, args.val))
    about = dict(photos=len(train), held=len(held), date=time.strftime('%Y-%m-%d'), hardware=f'{platform.machine()}, {torch.get_num_threads()} thread(s), CPU', torch=torch.__version__,
                 commit=subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, cwd=HERE).stdout.strip())
    rows = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    done = {(r['variant'], int(r['seed'])) for r in rows}
    for seed in SEEDS:
        for name in space['variants']:
            if (name, seed) in done: continue
            began = time.process_time()
            numbers = space['small_run'](name, seed, train, held)
            rows.append(dict(variant=name, seed=seed, **{k: round(v, 4) for k,v in numbers.items()}, seconds=round(time.process_time()-began), **about))
            write_csv(TABLE, rows)
            print(name, seed, numbers['psnr'], rows[-1]['seconds'], 's', flush=True)


if __name__ == '__main__': main()
