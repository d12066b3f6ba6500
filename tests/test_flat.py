"""Plain walls, skies and grey photos, with the weights that ship"""
import numpy as np, pytest, torch
from gla_inpaint.blend import limit_contrast
from gla_inpaint.data import crop_photo, sample_photos, to_tensor
from gla_inpaint.inference import inpaint
from gla_inpaint.masks import hole_of_ratio, mask_from_hole


def farthest(photo, hole):
    "Largest difference between fill and photo, of 255"
    return np.abs(np.asarray(inpaint(photo, hole)).astype(int) - photo).max()


@pytest.mark.parametrize('colour', [(255, 255, 255), (0, 0, 0), (200, 30, 30), (240, 220, 60), (20, 30, 90)])
def test_a_wall_of_one_colour_keeps_it(colour):
    photo = np.full((160, 160, 3), colour, np.uint8)
    assert farthest(photo, hole_of_ratio((160, 160), (.2, .3), 1)) <= 2


def test_a_sky_that_fades_goes_on_fading():
    "A hole away from the picture's edge; at the edge the membrane is free and bends"
    down = np.linspace(0, 1, 256)[:,None,None]
    photo = np.round((1-down)*[80, 140, 230] + down*[200, 225, 250]).astype(np.uint8).repeat(256, 1)
    hole = np.zeros((256, 256), bool)
    hole[60:190,70:180] = True
    assert farthest(photo, hole) <= 2


def test_a_grey_photo_stays_grey():
    grey = sample_photos()['chelsea'].convert('L').convert('RGB').resize((200, 133))
    out = np.asarray(inpaint(grey, hole_of_ratio((133, 200), (.2, .3), 2))).astype(int)
    assert np.ptp(out, axis=2).max() <= 1


def test_a_limit_on_flat_walls_does_not_touch_a_cat():
    "Where the surroundings have texture, the true fur is not held down: a perfect painter stays nearly perfect"
    photo = to_tensor(crop_photo(sample_photos()['chelsea'], (128, 128)))[None]
    hole = hole_of_ratio((128, 128), (.2, .3), 2)
    kept = limit_contrast(photo, photo, mask_from_hole(hole)[None])
    changed = (kept-photo).abs().amax(1)[0][torch.from_numpy(hole.copy())]*127.5
    assert (changed < 2).float().mean() > .8
