"""Whether a memory knows images like these: by kind, whatever their number."""

import torch

from limner.config import Strategy
from limner.memory import Memory, fingerprint
from limner.memory.familiarity import STRANGE, nearest_task
from limner.tasks import ImageSet, Task, load


def added(memory, images, learned=True):
    task = Task("generate", images.name, images, None)
    sha256 = memory.add_task(task, fingerprint(task, None))
    if learned:
        memory.begin_run(sha256, {"kind": "vae", "image_shape": list(images.shape), "options": {}}, Strategy(), 0)
    return sha256


def test_the_nearest_task_is_found_and_strange_images_are_told_apart(tmp_path):
    digits = load("digits,size=16,classes=3+5")
    threes, fives = (digits.select(digits.of_class(index)[:20], str(index)) for index in (0, 1))
    random = torch.Generator().manual_seed(0)
    noise = ImageSet(torch.randint(256, (20, 1, 16, 16), generator=random, dtype=torch.uint8), "noise")
    with Memory.open(tmp_path) as memory:
        three = added(memory, threes)
        assert nearest_task(memory, three) is None, "a memory that knows nothing else says nothing"
        added(memory, ImageSet(255 - noise.images, "never learned"), learned=False)
        few = added(memory, fives.select(torch.arange(2)))
        found = nearest_task(memory, few)
        assert (found.name, found.tasks) == ("0", 1)
        assert found.distance < STRANGE
        strange = nearest_task(memory, added(memory, noise))
        assert strange.tasks == 2
        assert strange.distance > STRANGE
        assert nearest_task(memory, "0" * 64) is None
