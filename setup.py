"Packaging for gla_inpaint: everything it says stands in settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
extras = {key.removesuffix('_requirements'): cfg[key].split() for key in cfg if key.endswith('_requirements')}

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], keywords=cfg['keywords'],
    license='Apache-2.0', license_files=['LICENSE'], python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=['gla_inpaint', 'gla_inpaint.*']),
    package_data={'gla_inpaint': ['weights/*.safetensors', 'weights/*.md', 'static/draw.*']}, include_package_data=False,
    install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': ['gla_inpaint=gla_inpaint._modidx:d']},
    classifiers=[f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 14)],
    zip_safe=False,
)
