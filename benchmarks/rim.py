"""What the membrane at the rim is worth: `python benchmarks/rim.py PHOTOS`, some minutes for a hundred photos. Writes results/rim.csv.

Each photo gets a square hole of 60 pixels, and a free-form one within 90 by 90. The error is the mean over the hole, of 255, PSNR is over the hole; the jump is the mean
difference of neighbours of which one was painted and one is known.
"""
import sys
from pathlib import Path
from unittest.mock import patch
sys.path.insert(0, str(Path(__file__).parent.parent))
import numpy as np
import pandas as pd
import torch
from fastprogress import progress_bar
from scipy.ndimage import binary_dilation
from gla_inpaint import crops
from gla_inpaint.blend import harmonic_blend
from gla_inpaint.data import find_photos
from gla_inpaint.files import open_image
from gla_inpaint.inference import inpaint
from gla_inpaint.masks import free_form_hole
from gla_inpaint.weights import DEFAULT_SHA256, load_inpainter

def one_shade(painted, img, mask):
    "The mean error at the rim added to all of the hole"
    rim = binary_dilation(mask[0,0].numpy() == 0) & (mask[0,0].numpy() == 1)
    return painted + (img-painted)[...,torch.from_numpy(rim)].mean(-1)[...,None,None]

WAYS = {'as painted': lambda painted, img, mask: painted, 'one shade': one_shade, 'membrane': harmonic_blend,
        'membrane, no network': lambda painted, img, mask: harmonic_blend(torch.zeros_like(painted), img, mask)}

def holes(size, rng):
    "A square and a free-form hole somewhere in a photo of (width, height)"
    for kind,side in (('square', 60), ('free-form', 90)):
        (x,y),hole = (rng.integers(side//2, n-3*side//2) for n in size),np.zeros(size[::-1], dtype=bool)
        hole[y:y+side,x:x+side] = True if kind == 'square' else free_form_hole((side, side), rng)
        yield kind,hole

def jump(pixels, hole):
    "Mean difference over the rim, both ways"
    steps = [np.abs(np.diff(pixels, axis=a))[np.diff(hole, axis=a)] for a in (0,1)]
    return np.concatenate(steps).mean()

def measure(photo, hole, filled):
    "Error, PSNR and jump of one fill"
    off = (filled-photo)[hole]
    return np.abs(off).mean(),20*np.log10(255/np.sqrt((off**2).mean())) if off.any() else np.inf,jump(filled, hole)

def fills(photo, hole, net):
    "The photo itself, and what `inpaint` makes of it in each way, before detail is copied"
    yield 'the photo itself',photo
    for way,f in WAYS.items():
        with patch.object(crops, 'harmonic_blend', f): yield way,inpaint(photo, hole, net, detail=False)

def main(folder):
    rng,net,rows = np.random.default_rng(0),load_inpainter(device='cpu'),[]
    photos = find_photos(folder)
    for photo in progress_bar([open_image(f).convert('RGB') for f in photos]):
        true = np.asarray(photo).astype(float)
        for kind,hole in holes(photo.size, rng):
            rows += [(kind, way, *measure(true, hole, np.asarray(filled).astype(float))) for way,filled in fills(photo, hole, net)]
    table = pd.DataFrame(rows, columns=['hole', 'way', 'error', 'psnr', 'jump']).groupby(['hole', 'way'], sort=False).mean()
    table['photos'],table['weights'] = len(photos),DEFAULT_SHA256[:16]
    print(table.round(2).to_string())
    table.round(4).to_csv(Path(__file__).parent/'results/rim.csv')

if __name__ == '__main__': main(sys.argv[1])
