"""The numbers of tables.ipynb, from photographs of your own.

    python nbs/paper/paper_tables.py PHOTOS [--weights W] [--name NAME] [--work FOLDER]

fills 100 holes of 256x256 in each bucket with every method, and writes results/photos-256.csv (the tables) and results/photos-256-psnr.csv (each pair).
With --name it measures the network alone, and writes results/NAME-256.csv, such as those that the model card shows beside the first.
What is measured already is not measured again: with other weights that is all but the network, as long as code and machine are the same."""
import argparse
from pathlib import Path

from gla_inpaint.evaluate import evaluate, make_holes, measured_by, read_rows

RESULTS = Path(__file__).parent/'results'

def psnr_of_pairs(
    rows, # of this run
): # index bucket and number of the pair, a column for each method
    "The PSNR of each pair of photo and hole."
    rows = rows.assign(pair=rows.hole.str.extract(r'/(\d+)', expand=False).astype(int))
    return rows.pivot(index=['bucket','pair'], columns='method', values='psnr')

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('photos', metavar='PHOTOS', type=Path, help='folder of at least 100 photographs')
    p.add_argument('--weights', metavar='W', type=Path, help='default: those in the package')
    p.add_argument('--name', metavar='NAME', help='of a file for the network alone')
    p.add_argument('--work', metavar='FOLDER', type=Path, default='out-256', help='for holes and rows; default: out-256')
    args = p.parse_args(argv)
    make_holes(args.work/'holes', 100, (256,256), seed=0)
    table,failed = evaluate(args.photos, args.work/'holes', args.work, args.weights, baselines=not args.name)
    if failed: raise SystemExit(f'{failed}: mend that first')
    table.to_csv(RESULTS/f'{args.name or "photos"}-256.csv', index=False, float_format='%.4f')
    if args.name: return
    rows = read_rows(args.work/'rows.csv')
    rows = rows[(rows.measured_by == measured_by()) & rows.made_by.isin(table.made_by)]
    psnr_of_pairs(rows).to_csv(RESULTS/'photos-256-psnr.csv')

if __name__ == '__main__': main()
