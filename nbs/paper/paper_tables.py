"""The numbers of tables.ipynb, from photographs of your own.

    python nbs/paper/paper_tables.py PHOTOS [--weights W] [--name NAME] [--work FOLDER]

fills 100 holes of 256x256 in each bucket with every method, and writes results/photos-256.csv (the tables) and results/photos-256-psnr.csv (each pair).
With --name it measures the network alone, and writes results/NAME-256.csv, such as those that the model card shows beside the first.
PatchMatch is measured where it is installed (pip install 'gla_inpaint[patchmatch]'); elsewhere its rows stay as they are.
What is measured already is not measured again: with other weights that is all but the network, as long as code and machine are the same.
Not tables.py: that is the name of a package, which fastai looks for when it is imported from this folder."""
import argparse
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from gla_inpaint.evaluate import BASELINES, evaluate, make_holes, measured_by, read_rows

RESULTS,OPTIONAL = Path(__file__).parent/'results',['patchmatch']

def psnr_of_pairs(
    rows, # of this run
): # index bucket and number of the pair, a column for each method
    "The PSNR of each pair of photo and hole."
    rows = rows.assign(pair=rows.hole.str.extract(r'/(\d+)', expand=False).astype(int))
    return rows.pivot(index=['bucket','pair'], columns='method', values='psnr')

def with_kept(
    table, # of this run
    file, # of the last one
): # the same; `OPTIONAL` methods that are not installed here are as they were
    "The tables' rows in their order."
    before = pd.read_csv(file) if file.exists() else table[:0]
    kept = before[before.method.isin(set(OPTIONAL)-set(table.method))]
    both = pd.concat([table, kept])
    order = both.region.map(['whole','hole','time'].index),both.metric.map(list(dict.fromkeys(table.metric)).index)
    return both.assign(r=order[0], m=order[1]).sort_values(['r','m','bucket'], kind='stable').drop(columns=['r','m'])

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('photos', metavar='PHOTOS', type=Path, help='folder of at least 100 photographs')
    p.add_argument('--weights', metavar='W', type=Path, help='default: those in the package')
    p.add_argument('--name', metavar='NAME', help='of a file for the network alone')
    p.add_argument('--work', metavar='FOLDER', type=Path, default='out-256', help='for holes and rows; default: out-256')
    args = p.parse_args(argv)
    make_holes(args.work/'holes', 100, (256,256), seed=0)
    every = (*BASELINES, *(['patchmatch'] if find_spec('patchmatch') else []))
    table,failed = evaluate(args.photos, args.work/'holes', args.work, args.weights, baselines=() if args.name else every)
    if failed: raise SystemExit(f'{failed}: mend that first')
    file = RESULTS/f'{args.name or "photos"}-256.csv'
    if not args.name: table = with_kept(table, file)
    table.to_csv(file, index=False, float_format='%.4f')
    if args.name: return
    rows = read_rows(args.work/'rows.csv')
    rows = rows[(rows.measured_by == measured_by()) & rows.made_by.isin(table.made_by)]
    file = RESULTS/'photos-256-psnr.csv'
    pairs,before = psnr_of_pairs(rows),pd.read_csv(file, index_col=['bucket','pair'])
    kept = before[[m for m in OPTIONAL if m in before and m not in pairs]]
    pairs.join(kept).sort_index(axis=1).to_csv(file)

if __name__ == '__main__': main()
