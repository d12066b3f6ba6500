"""The pictures of the drawing board in nbs/images, from the board itself: `python tests/make_pictures.py [FOLDER]`, after a change of its looks.

A photo that comes with scikit-image, the weights that ship, Chromium. Three states and an animation of ten seconds for the pages.
In FOLDER, to be looked at: every state, light and dark, wide and narrow."""
import shutil, sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from board import board, browser
from gla_inpaint.data import sample_photos

IMAGES = Path(__file__).parent.parent/'nbs/images'
LEFT,ROCKET,RIGHT = ((.313,.27), (.308,.5), (.295,.84)), ((.502,.31), (.504,.6), (.504,.9)), ((.697,.27), (.704,.5), (.722,.84))
ARROW = """a = document.createElement('div'); a.style = 'position: fixed; z-index: 9; pointer-events: none; width: 0; height: 0';
a.innerHTML = '<svg width="20" height="24" viewBox="0 0 20 24"><path d="M1 1v19l5-5 3 7 3-1-3-7h7z" fill="white" stroke="black" stroke-width="1.3"/></svg>';
document.body.append(a); addEventListener('pointermove', e => { a.style.left = e.clientX+'px'; a.style.top = e.clientY+'px'; }, true)"""


def shot(b):
    b.page.wait_for_timeout(60)
    return Image.open(BytesIO(b.page.locator('.gla-draw').screenshot())).convert('RGB')


def save(b, path):
    b.page.wait_for_timeout(600)
    shot(b).save(path, quality=88, method=6)


def fill(b):
    b.button('Fill').click()
    b.until(lambda: b.drawer.filled and b.drawer.canvas.state == 'ready', 'filled', 600)
    b.page.wait_for_timeout(300)


def states(chromium, photo, folder):
    for dark,width,kind in ((False, 960, 'light'), (True, 960, 'dark'), (False, 390, 'narrow')):
        with board(chromium, photo, dark=dark, width=width, height=800) as b:
            def keep(state): save(b, folder/f'draw-{state}-{kind}.webp')
            b.drawer.canvas.brush = 38
            keep('empty')
            b.drag(*LEFT)
            b.drag(*ROCKET)
            keep('drawn')
            b.page.mouse.move(*b.at(.5, .2))
            for _ in range(2): b.page.mouse.wheel(0, -300)
            keep('zoomed')
            b.press('Escape')
            fill(b)
            keep('filled')
            b.drawer.compare.value = .5
            b.page.mouse.move(5, 5)
            keep('compared')


class Film:
    "Frames of a board, each a tenth of a second, or longer"
    def __init__(self, b):
        self.b,self.frames,self.times,self.at = b,[],[],b.at(.62, .75)
        b.page.evaluate(ARROW)

    def take(self, seconds=.1):
        self.frames.append(shot(self.b))
        self.times.append(round(seconds*1000))

    def move(self, to, frames, last=.1):
        (x,y),(u,v) = self.at,to
        for i in range(1, frames+1):
            t = i/frames
            t = t*t*(3-2*t)
            self.b.page.mouse.move(x+t*(u-x), y+t*(v-y))
            self.take(last if i == frames else .1)
        self.at = to

    def drag(self, *points, frames=6):
        self.move(self.b.at(*points[0]), 3)
        self.b.page.mouse.down()
        for p in points[1:]: self.move(self.b.at(*p), frames)
        self.b.page.mouse.up()
        self.take(.3)

    def press(self, name, until=lambda: True):
        box = self.b.button(name).bounding_box()
        self.move((box['x']+box['width']/2, box['y']+box['height']/2), 4, .2)
        self.b.page.mouse.down()
        self.b.page.mouse.up()
        self.take(.3)
        self.b.until(until, name, 600)
        self.b.page.wait_for_timeout(300)
        self.take(.5)

    def save(self, path):
        first,*rest = [f.resize((f.width//2*2, f.height//2*2)) for f in self.frames]
        first.save(path, save_all=True, append_images=rest, duration=self.times, loop=0, quality=58, method=6, minimize_size=True)
        print(f'{path.name}: {path.stat().st_size/1000:.0f} KB, {len(self.frames)} frames, {sum(self.times)/1000:.1f} s, {first.size}')


def film(chromium, photo):
    with board(chromium, photo, width=664, height=760) as b:
        d = b.drawer
        d.canvas.brush = 38
        f = Film(b)
        f.take(.4)
        for thing in (LEFT, ROCKET):
            f.drag(*thing)
            f.press('Fill', lambda: d.filled and d.canvas.state == 'ready')
            if thing is LEFT: f.press('Keep', lambda: not d.hole.any())
        f.move(b.at(.03, .5), 4)
        b.page.mouse.down()
        f.move(b.at(.62, .5), 12, .2)
        f.move(b.at(.03, .5), 10)
        b.page.mouse.up()
        f.take(.8)
        f.save(IMAGES/'draw.webp')


if __name__ == '__main__':
    torch.set_num_threads(1)
    photo = sample_photos()['rocket']
    with browser() as chromium, TemporaryDirectory() as tmp:
        folder = Path(*sys.argv[1:2] or [tmp])
        states(chromium, photo, folder)
        for name in ('drawn-light', 'zoomed-light', 'compared-dark'): shutil.copy(folder/f'draw-{name}.webp', IMAGES)
        film(chromium, photo)
