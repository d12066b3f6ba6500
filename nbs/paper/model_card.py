"""What the model card shows of runs of `gla_train`, and the files that ship made from their last weights.

    python nbs/paper/model_card.py RUN [RUN ...]          # a row for each run, in results/weights_runs.csv
    python nbs/paper/model_card.py --ship NAME RUN LABEL  # gla_inpaint/weights/NAME.safetensors, in half precision
"""
import csv, json, sys
from pathlib import Path

from safetensors.torch import load_file, save_file

import gla_inpaint
from gla_inpaint.evaluate import file_sha, hardware
from gla_inpaint.weights import load_inpainter, save_inpainter
from gla_inpaint.metrics import BUCKETS, bucket_name
from gla_inpaint.train import d_file, write_csv

RUNS = Path(__file__).parent/'results/weights_runs.csv'
WEIGHTS = Path(gla_inpaint.__path__[0])/'weights'

def row(run):
    "One run: when, where, how long, with what, and its last validation, at its own size"
    s = json.loads((run/'settings.json').read_text())
    with open(run/'history.csv') as f: last = list(csv.DictReader(f))[-1]
    seen = int(last['step'])*s['bs']
    options = [f'{k} {s[k]}' for k in ('lr_d', 'adv_weight', 'd_warmup', 'ema') if s.get(k)]
    options += [k for k in ('colour', 'bf16') if s.get(k)] + [f'without {k}' for k in s['without'] if k != 'adversarial']
    if 'adversarial' in s['without']: options = [o for o in options if not o.startswith(('adv_weight', 'd_'))]
    facts = dict(run=run.name, begins_with=Path(s['weights']).parent.name if s['weights'] else 'nothing', date=s['started'][:10],
                 hardware=hardware() if s['versions']['gpu'] == 'none' else s['versions']['gpu'], minutes=round(float(last['minutes']), 1), size=s['size'], batch=s['bs'], lr=s['lr'],
                 steps=last['step'], images=seen, passes=round(seen/len(s['train']), 1), width=s['width'], discriminator='adversarial' not in s['without'], options=', '.join(options))
    return facts | {f'{k} {b}': round(float(last[f'{k} {b}']), 2) for k in ('l1', 'ssim', 'psnr') for b in map(bucket_name, BUCKETS)}

def note(runs):
    "Rows of these runs, in the place of older rows of the same names"
    new = [row(Path(r)) for r in runs]
    old = list(csv.DictReader(open(RUNS))) if RUNS.exists() else []
    rows = [r for r in old if r['run'] not in {n['run'] for n in new}] + new
    write_csv(RUNS, [{k: r.get(k, '') for k in row(Path(runs[0]))} for r in rows])

def ship(name, run, label):
    "The last weights of a run, generator and discriminator, in half precision"
    last = Path(run)/'last.safetensors'
    save_inpainter(load_inpainter(last, 'cpu'), WEIGHTS/f'{name}.safetensors', label, half=True)
    if d_file(last).exists(): save_file({k: v.half() for k,v in load_file(d_file(last)).items()}, d_file(WEIGHTS/f'{name}.safetensors'))
    for f in sorted(WEIGHTS.glob(f'{name}*.safetensors')): print(f.name, f.stat().st_size, file_sha(f))

if __name__ == '__main__': ship(*sys.argv[2:]) if sys.argv[1] == '--ship' else note(sys.argv[1:])
