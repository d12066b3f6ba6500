"""The pictures of the first page: `python tests/make_thumbnails.py`, after a change of the weights or of the figures.

nbs/images/first.jpg: two photographs that no weights were trained on, filled with those in the package.
nbs/images/your_photos.webp, many_gpus.webp: two tutorials begin with them.
nbs/images/small/: beside the notebooks. All but the first: each is a part of a figure that its notebook has stored: the id of the cell, and left, top, right and bottom of the part in shares of the figure."""
import base64, json
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image, ImageOps
from gla_inpaint.data import crop_photo, sample_photos, show_rows, to_tensor
from gla_inpaint.inference import inpaint
from gla_inpaint.masks import hole_of_ratio

NBS = Path(__file__).parent.parent/'nbs'
SIZE = 240,120
PARTS = {
    'prologue': ('prologue-03', .203, .13, .6, .99), '00_masks': ('00_masks-09', .0, .12, .49, 1), '00_pictures': ('00_pictures-13', .13, .19, .35, .49),
    '01_data': ('01_data-51', .0, .08, .66, .34), '02_mpga': ('02_mpga-49', .25, .06, .75, .5),
    '03_gla': ('03_gla-57e', .035, .07, .345, .27), '04_generator': ('01_data-53', .197, .13, .602, .98),
    '05_discriminator': ('05_discriminator-32', .03, .08, .98, .98), '06_losses': ('06_losses-07a', .03, .1, .68, .52),
    '07_metrics': ('07_metrics-18', .0, .12, .485, .49), '08_learner': ('08_learner-06a', .675, .08, .992, .49),
    '08_weights': ('08_weights-first', .335, .1, .995, 1), '09_blend': ('09_blend-first', .0, .12, .5, .99),
    '09_crops': ('09_crops-first', .02, .1, .98, .85), '09_detail': ('09_detail-first', .255, .055, .735, .36), '09_files': ('09_files-first', .005, .25, .162, .97),
    '09_holes': ('09_holes-first', .255, .08, .497, .49), '09_inference': ('09_inference-first', .0, .16, .66, 1), '10_draw': ('10_draw-51', .342, .14, .987, .945),
    '11_train': ('11_train-25c', .09, .03, .535, .84), '12_evaluate': ('12_evaluate-03a', .21, .12, .376, .453),
    '13_demo': ('13_demo-25', .176, .08, .333, .51),
    '05_a_gan': ('05_a_gan-40', .255, .2, .745, .9), '01_contextual': ('01_contextual-04', .34, .04, .66, .47),
    '03_multicolumn': ('03_multicolumn-13', .01, .03, .435, .96), '05_edge': ('05_edge-opening', .255, .05, .75, .48), '06_pluralistic': ('06_pluralistic-opening', .32, .1, .64, .48),
    '02_partial': ('02_partial-13', .675, .06, .99, .47), '04_gated': ('04_gated-05', .036, .295, .34, .505), '07_fusion': ('07_fusion-29', .5, .68, 1, .99),
}
# the first pictures of tutorials whose own runs come later
OPENINGS = {'your_photos': ('your_photos-39', 0, 0, 1, 1), 'many_gpus': ('many_gpus-21', .486, 0, 1, 1)}


def figure(cell):
    "What a cell has drawn; its id begins with the name of its page"
    page = cell.rsplit('-', 1)[0]
    outputs = next(c['outputs'] for c in json.loads(next(NBS.rglob(f'{page}.ipynb')).read_text())['cells'] if c['id'] == cell)
    data = next(o['data'][m] for o in outputs for m in ('image/png', 'image/jpeg') if m in o.get('data', {}))
    return Image.open(BytesIO(base64.b64decode(''.join(data)))).convert('RGB')


def part_of(cell, *part):
    im = figure(cell)
    return im.crop([round(x*side) for x,side in zip(part, im.size*2)])


def small(*where):
    "A part of a figure, in the size of all"
    return ImageOps.fit(part_of(*where), SIZE, Image.Resampling.LANCZOS)


def first(**seeds):
    "Held-out photographs with a hole, filled, with detail, and as they were"
    rows = []
    for name,seed in seeds.items():
        photo,hole = crop_photo(sample_photos()[name], (256,256)),hole_of_ratio((256,256), (.15,.25), seed)
        truth,filled = to_tensor(photo),to_tensor(inpaint(photo, hole, detail=False))
        fine = to_tensor(inpaint(photo, hole))
        rows.append([truth.masked_fill(torch.from_numpy(hole), 1), filled, fine, truth])
    return show_rows(rows, ('photo with a hole', 'the network', 'with detail', 'as it was'), size=2.4)


if __name__ == '__main__':
    # one that is worth it, one that fails
    first(chelsea=8, coffee=3).savefig(NBS/'images/first.jpg', dpi=140, bbox_inches='tight', pil_kwargs=dict(quality=80))
    (NBS/'images/small').mkdir(exist_ok=True)
    for page,where in PARTS.items(): small(*where).save(NBS/f'images/small/{page}.webp', quality=80, method=6)
    for page,where in OPENINGS.items(): part_of(*where).save(NBS/f'images/{page}.webp', quality=88, method=6)
