"""Holes and masks: what is refused, odd sizes, seeds in any form and in any process. How they are drawn is in nbs/00_masks.ipynb"""
import numpy as np, pytest, torch
from torch.utils.data import DataLoader, Dataset

from gla_inpaint.masks import free_form_hole, free_form_stroke, hole_of_ratio, holes_in_ratio, mask_from_hole, resize_mask


@pytest.mark.parametrize('call,says', [
    (lambda: hole_of_ratio((8, 8), (.3, .2)), 'ratio must be'),
    (lambda: hole_of_ratio((8, 8), (20, 30)), 'ratio must be'),          # percent
    (lambda: holes_in_ratio(3, (8, 8), .25), 'ratio must be'),
    (lambda: hole_of_ratio((8, 8), (.2, .2001)), 'no hole has'),         # between 12 and 13 pixels
    (lambda: holes_in_ratio(3, (8, 8), (0, .01)), 'no hole has'),        # less than one pixel
    (lambda: free_form_hole((8, 0)), 'size must be'),
    (lambda: free_form_hole(8), 'size must be'),
    (lambda: hole_of_ratio((8, 8.5)), 'size must be'),
    (lambda: holes_in_ratio(-1, (8, 8)), 'n must be'),
    (lambda: mask_from_hole(np.array([[0, 255]])), 'a hole is')])        # an 8-bit picture
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(ValueError, match=f'^{says}'): call()


def test_no_holes_are_fine(): assert holes_in_ratio(0, (8, 9)).shape == (0, 8, 9)


def test_a_batch_has_its_channel_second_and_greys_are_cut_at_one_half():
    tiny = np.array([[False, True, False], [False, True, False]])
    assert mask_from_hole(np.stack([tiny, ~tiny])).shape == (2, 1, 2, 3)
    assert mask_from_hole([[0, .4, .6, 1]]).tolist() == [[[1, 1, 0, 0]]]


@pytest.mark.parametrize('size', [(1,1), (1,9), (3,200), (37,53)])
def test_any_size_will_do_and_no_hole_is_empty(size):
    for seed in range(100):
        hole = free_form_hole(size, seed)
        assert hole.shape == size and hole.dtype == bool and hole.any()


@pytest.mark.parametrize('size,bucket', [((64, 64), (0, .001)), ((64, 64), (.25, .2501)), ((7, 13), (.4, .41))])
def test_narrow_buckets(size, bucket):
    r = holes_in_ratio(10, size, bucket).mean((1, 2))
    assert ((bucket[0] <= r) & (r < bucket[1])).all()


def test_strokes_go_all_four_ways_with_the_brushes_that_were_asked_for():
    rng,ways = np.random.default_rng(0),set()
    for _ in range(500):
        pts,_ = free_form_stroke((200, 800), rng)
        assert 5 <= len(pts) <= 13
        if (pts > 0).all() and (pts < (799, 199)).all():
            dx,dy = np.diff(pts, axis=0).T
            ways.add((dx.sum() > 0, dy[0] > 0))
    assert len(ways) == 4, 'left or right, up or down first'
    widths = [free_form_stroke((256, 256), rng)[1] for _ in range(500)]
    assert 12 <= min(widths) < 13 and 39 < max(widths) < 40.1


def test_a_seed_may_have_any_form():
    def draw(seed): return hole_of_ratio((64, 64), (.3, .4), seed)
    assert (draw(5) == draw([5])).all() and (draw((5, 1)) != draw((5, 2))).any()
    assert (draw(np.random.default_rng(5)) == draw(5)).all()
    assert (free_form_hole((160, 160), 4) != free_form_hole((160, 160), 5)).any()
    assert (holes_in_ratio(5, (64, 64), (.3, .4), 5)[:2] == holes_in_ratio(2, (64, 64), (.3, .4), 5)).all()


def test_a_resized_mask_is_a_mask(): assert set(resize_mask(mask_from_hole(free_form_hole((9, 9), 1))[None], (3, 7)).unique().tolist()) <= {0, 1}


# ---- in worker processes

class Holes(Dataset):
    def __init__(self, kind): self.kind,self.rng = kind,np.random.default_rng(0)
    def __len__(self): return 8
    def __getitem__(self, i): return hole_of_ratio((32, 32), (.2, .3), dict(seeded=(0, i), unseeded=None, inherited=self.rng)[self.kind])

def load(kind, num_workers): return torch.cat(list(DataLoader(Holes(kind), batch_size=2, num_workers=num_workers)))
def n_different(holes): return len(holes.unique(dim=0))


def test_seeded_holes_are_the_same_with_any_number_of_workers():
    here,workers = load('seeded', 0),load('seeded', 2)
    assert (here == workers).all() and (here.numpy() == holes_in_ratio(8, (32, 32), (.2, .3), 0)).all()
    assert n_different(here) == 8


def test_unseeded_holes_never_repeat_and_a_run_can_be_repeated():
    torch.manual_seed(42)
    first,second = load('unseeded', 2),load('unseeded', 2)
    assert n_different(torch.cat([first, second])) == 16
    torch.manual_seed(42)
    assert (load('unseeded', 2) == first).all()


def test_the_trap_is_real(): assert n_different(load('inherited', 2)) == 4, 'a generator made once is copied into each worker'
