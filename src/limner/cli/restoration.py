"""``limner degrade``, and how the images that a restorer learns from get damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limner.cli import help, options, show

SHOWN = 5
"""Images of which the terminal tells what was found."""

Degradation = Annotated[
    str | None,
    typer.Option(
        "--degradation",
        metavar="TEXT",
        help='To restore: how the clean images DATA get damaged, e.g. "gaussian(5..50)"; see limner degrade --help.',
    ),
]

Damaged = Annotated[
    str | None,
    typer.Option(
        "--damaged",
        metavar="DATA",
        help="To restore: damaged images that are not of pairs. They show the degradation, unless --degradation says "
        "it; without other DATA they are all there is to learn from.",
    ),
]


def add_to(app: help.App) -> None:
    """Add the commands."""
    app.command(epilog='Example: limner degrade folder:my-images "gaussian(25)" --out noisy')(degrade)
    app.command(epilog="Example: limner restore auto my-photographs --out mended")(restore)


def degrade(
    data: options.Data,
    degradation: Annotated[
        str,
        typer.Argument(metavar="DEGRADATION", help='What to do to them, e.g. "blur(motion,length=9)+gaussian(25)".'),
    ],
    out: options.Out = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write masks of lost pixels, black where lost, as restore --mask takes."),
    ] = None,
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

    made = verb(data, degradation, seed=seed, out=out, masks=masks, force=force, progress=True)
    images = "1 image" if len(made.images) == 1 else f"{len(made.images):,} images"
    told = [
        f"{images} under {made.degradation} in {made.directory}",
        *(f"  {note}" for note in made.notes),
        *([f"masks of lost pixels: {masks}"] if made.masks else []),
        f"what was done to each: {made.report}",
    ]
    show.lines(made._asdict(), told, json)


def restore(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD-or-RUN",
            help="auto (by what is found in each image), a method below, or a run of adapt restore or train restorer.",
        ),
    ],
    source: Annotated[str, typer.Argument(metavar="FOLDER-or-FILE", help="The damaged images; they are only read.")],
    degradation: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What was done to them, as for degrade (default: estimated for each)."),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(metavar="SIGMA", help="Standard deviation of the noise on the scale 0-255 (default: estimated)."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE-or-FOLDER",
            help="An image of the same size, black where pixels are lost; of a folder that of the same name.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Clean images of the same names: gives PSNR and SSIM.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="An option of the method.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(metavar="N", help="Side of the overlapping parts of large images, 0 for none (default: 512)."),
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Judge each image without the truth.")] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write: a new directory, or one that this command began."),
    ] = None,
    memory: options.MemoryAt = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Damaged images mended, each under its own name with its size, depth, alpha, EXIF and colour profile.

    What is wrong with an image is estimated from it alone and told: noise and its kind, stripes, lost pixels, blur.
    What was removed, pixels hidden from the method, the result damaged and restored again, and a second method say how
    far to trust it. All is in restored.json and on a page, before and after. JPEG and other formats that would lose
    something become PNG. After Ctrl-C the same command with the same --out goes on: images that are done are skipped.

    \b
      starter                       noise of any kind, mild blur and JPEG, of unknown strength; what auto takes
      denoiser, bm3d, non-local-means, wavelets, total-variation, dictionary    noise
      wiener, richardson-lucy       a blur told by --degradation, as in "blur(motion,length=9)+gaussian(5)"
      destriping                    rows or columns with offsets of their own; other methods take these away first
      biharmonic                    lost pixels
      plug-and-play                 blur, lost pixels, down-sampling, and noise; -o prior=METHOD-or-RUN
      generative-prior              the same, for images such as a GAN or VAE makes; -o run=RUN
    """
    from limner.verbs import restore_asked
    from limner.verbs.restore import restore as verb

    made = verb(
        method, source, degradation=degradation, noise=noise, mask=mask, truth=truth, options=show.pairs(option),
        tile=tile, check=check, out=out, memory=memory, seed=seed, force=force, progress=True,
    )  # fmt: skip
    count = f"{len(made.images):,} image{'' if len(made.images) == 1 else 's'}"
    told = [f"{count} in {made.directory}"]
    if made.skipped:
        told.append(f"{len(made.skipped):,} of them were done before and are as they were")
    fresh = [one for one in made.record["images"] if one["image"] not in made.skipped]
    for one in fresh[:SHOWN]:
        told += [one["image"], *(f"  {sentence}" for sentence in one["sentences"])]
    if len(fresh) > SHOWN:
        told.append(
            f"what was found in the other {len(fresh) - SHOWN:,} stands in {made.directory / restore_asked.RECORD}"
        )
    told += restore_asked.told_once(made.left_out)
    show.lines({**vars(made), "page": made.page}, [*told, f"before and after: {made.page}"], json)
    if made.state == "stopped":
        same = "the same command" if out is not None else f"the same command with --out {made.directory}"
        raise show.Stopped(f"stopped by hand, with {count} done in {made.directory}; {same} goes on")
