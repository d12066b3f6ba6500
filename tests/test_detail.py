"Detail from the known part: what `inpaint(detail=True)` may change, and what not."
import numpy as np, pytest, torch
from PIL import Image
from fastai.torch_core import set_seed

from gla_inpaint.data import crop_photo, sample_photos
from gla_inpaint.detail import copy_detail, distance
from gla_inpaint.inference import inpaint, main
from gla_inpaint.masks import hole_of_ratio

PHOTO = crop_photo(sample_photos()['chelsea'], (96,128))
HOLE = hole_of_ratio((96,128), (.1,.2), 0)


def texture(im, hole):
    "Mean step between neighbours in the hole"
    g = np.asarray(im.convert('L'), float)
    return np.abs(np.diff(g, axis=1))[hole[:,1:] & hole[:,:-1]].mean()


def test_the_same_each_time_known_as_it_was_and_more_texture():
    soft,fine = inpaint(PHOTO, HOLE),inpaint(PHOTO, HOLE, detail=True)
    assert np.array_equal(fine, inpaint(PHOTO, HOLE, detail=True))
    known = np.asarray(PHOTO)[~HOLE]
    assert np.array_equal(np.asarray(fine)[~HOLE], known)
    assert texture(fine, HOLE) > 1.2*texture(soft, HOLE)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK'])
def test_modes_are_kept(mode):
    photo = PHOTO.convert(mode)
    fine = inpaint(photo, HOLE, detail=True)
    assert fine.mode == mode and fine.size == photo.size
    assert np.array_equal(np.asarray(fine)[~HOLE], np.asarray(photo)[~HOLE])


def test_transparent_and_other_holes_lend_nothing():
    "What stands under the hole, or is transparent, does not matter"
    rgba = np.dstack([np.asarray(PHOTO), np.full((96,128), 255, np.uint8)])
    rgba[:40,:40,3] = 0
    hole = np.zeros((96,128), bool); hole[60:80,60:90] = True
    other = rgba.copy(); other[:40,:40,:3] = 99; other[hole,:3] = 7
    a,b = (np.asarray(inpaint(Image.fromarray(x), hole, detail=True)) for x in (rgba, other))
    assert np.array_equal(a[hole], b[hole])


def test_too_little_to_lend_leaves_the_fill_as_it_is():
    set_seed(0)
    for size,known in ((8, slice(0, 4)), (24, slice(0, 8))):
        x,m = torch.rand(1, 3, size, size),torch.zeros(1, 1, size, size)
        m[...,known] = 1
        assert torch.equal(copy_detail(x, m), x)


def test_the_distance_is_that_of_loops():
    set_seed(0)
    a,blocks,w = torch.rand(12),torch.rand(12, 5),(torch.rand(12) > .5).float()
    by_hand = [sum(w[i]*(a[i]-blocks[i,j])**2 for i in range(12))/w.sum() for j in range(5)]
    assert torch.allclose(distance(a, blocks, w), torch.stack(by_hand), atol=1e-6)
    assert torch.equal(distance(a, blocks, 0*w), torch.zeros(5))


def test_all_lengths_grow_with_the_crop():
    "Twice the picture, seen at half its size: detail is copied in blocks of twice the side"
    set_seed(0)
    m = torch.ones(1, 1, 48, 48); m[...,16:32,16:32] = 0
    x = torch.rand(1, 1, 48, 48)*m
    assert copy_detail(x, m, 3.9).sub(x).abs().max() == 0, 'no block of 47 pixels is known'
    assert copy_detail(x, m, 1.).sub(x).abs().max() > 0


def test_the_command(tmp_path):
    PHOTO.save(tmp_path/'p.png'); Image.fromarray(HOLE).save(tmp_path/'h.png')
    args = [str(tmp_path/'p.png'), str(tmp_path/'h.png'), '-o']
    assert main([*args, str(tmp_path/'a.png')]) == main([*args, str(tmp_path/'b.png'), '--detail']) == 0
    a,b = (np.asarray(Image.open(tmp_path/f'{n}.png')) for n in 'ab')
    assert np.array_equal(a[~HOLE], b[~HOLE]) and not np.array_equal(a, b)
    assert np.array_equal(b, np.asarray(inpaint(PHOTO, HOLE, detail=True)))


def test_a_folder_is_done_again_with_detail(tmp_path, capsys):
    for d in ('photos', 'holes'): (tmp_path/d).mkdir()
    PHOTO.save(tmp_path/'photos/p.png'); Image.fromarray(HOLE).save(tmp_path/'holes/p.png')
    args = [str(tmp_path/d) for d in ('photos', 'holes')] + ['-o', str(tmp_path/'out')]
    for more,word in (([], '1 filled'), ([], '1 done before'), (['--detail'], '1 filled'), (['--detail'], '1 done before')):
        assert main([*args, *more]) == 0
        assert word in capsys.readouterr().out
