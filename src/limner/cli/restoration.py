"""``limner degrade``, and how the images that a restorer learns from get damaged."""

from __future__ import annotations

from typing import Annotated

import typer

from limner.cli import help, options, show

Degradation = Annotated[
    str | None,
    typer.Option(
        "--degradation",
        metavar="TEXT",
        help='To restore: how the clean images DATA get damaged, e.g. "gaussian(5..50)"; see limner degrade --help.',
    ),
]


def add_to(app: help.App) -> None:
    """Add the command."""
    app.command(epilog='Example: limner degrade folder:my-images "gaussian(25)" --out noisy')(degrade)


def degrade(
    data: options.Data,
    degradation: Annotated[
        str,
        typer.Argument(metavar="DEGRADATION", help='What to do to them, e.g. "blur(motion,length=9)+gaussian(25)".'),
    ],
    out: options.Out = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Damaged copies of images under their own names, and a table of what was done to each. Originals are only read.

    A degradation is one or more of these, with + between, the first one first. 5..50 instead of a number is a range,
    from which each image draws its own. Image files keep their size; give options, as in size=64, to bring them to one.

    \b
      gaussian(25)                         noise; sigma on the scale 0-255
      poisson(30)                          noise of counting; photons at full intensity
      poisson_gaussian(30,sigma=5)         both
      speckle(0.2)                         noise in proportion to the intensity
      salt_and_pepper(0.1,salt=0.5)        a share of all intensities becomes 1 or 0
      stripes(10,direction=rows)           rows or columns move together; sigma on the scale 0-255

    \b
      blur(gaussian,width=1.5)             standard deviation in pixels
      blur(motion,length=9,angle=30)       pixels, degrees
      blur(defocus,radius=3)               pixels
      blur(file,path="kernel.npy")         any kernel: an array or an image
      downsample(2,width=0.5)              blurred, then every second pixel
      boundary=reflect, circular or zero   of any of these: what lies beyond the border

    \b
      missing(0.5)                         a share of the pixels becomes black
      boxes(3,size=0.2)                    squares, size in parts of the smaller side
      scratches(5,thickness=1)             lines
      text(12,lines=3)                     type of 12 pixels
      mosaic(pattern=rggb)                 one channel of each pixel, of a Bayer filter

    \b
      jpeg(30)                             quality, 1 to 95
      quantise(8), clip                    to levels of so many bits; to 0...1
      one_of(gaussian(25),jpeg(30))        one of them, by chance
      unknown                              a mixture of common ones
      nothing                              leaves images as they are
    """
    from limner.verbs.degrade import degrade as verb

    made = verb(data, degradation, seed=seed, out=out, force=force, progress=True)
    told = [
        f"{len(made.images):,} images under {made.degradation} in {made.directory}",
        *(f"  {note}" for note in made.notes),
        f"what was done to each: {made.report}",
    ]
    show.lines(made._asdict(), told, json)
