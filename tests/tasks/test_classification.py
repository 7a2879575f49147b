import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from detox.tasks import MODELS, Task, TaskError, create_task
from detox.tasks.classification import Classification, Images, crop_and_flip


def _naive_crop_and_flip(images, top, left, flip, margin=4):
    """Image by image, on a padded copy."""
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
    height, width = images.shape[2:]
    out = []
    for image, y, x, turned in zip(padded, top, left, flip, strict=True):
        crop = image[:, y : y + height, x : x + width]
        out.append(crop[:, :, ::-1] if turned else crop)
    return np.stack(out)


@given(st.integers(1, 6), st.integers(5, 9), st.integers(5, 9), st.integers(0, 2**62))
def test_augmentation_is_pad_crop_and_flip(n, height, width, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, height, width), np.uint8)
    result = crop_and_flip(torch.from_numpy(images), torch.Generator().manual_seed(seed)).numpy()
    generator = torch.Generator().manual_seed(seed)
    top, left = torch.randint(0, 9, (2, n, 1), generator=generator).numpy()[:, :, 0]
    flip = torch.randint(0, 2, (n, 1), generator=generator).numpy()[:, 0]
    assert np.array_equal(result, _naive_crop_and_flip(images, top, left, flip))


def test_all_offsets_and_both_sides_occur():
    images = torch.arange(32 * 32).reshape(1, 1, 32, 32).repeat(2000, 1, 1, 1)
    corners = crop_and_flip(images, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    # Reflected, the corner comes from 5 rows, and from 5 columns at either side.
    assert len(corners.unique()) == 50


def test_images_too_small_to_reflect_are_refused():
    with pytest.raises(TaskError, match="too small"):
        crop_and_flip(torch.zeros(1, 1, 4, 4), torch.Generator())


def images_of(pixels, labels, augment):
    return Images(pixels[:30], labels[:30], pixels[30:], labels[30:], 10, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), augment)


def _task(augment):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (50, 3, 32, 32), np.uint8), rng.integers(0, 10, 50)
    images = images_of(pixels, labels, augment)
    return Classification(images, MODELS["softmax"], torch.device("cpu")), pixels, labels


def test_loss_and_evaluation_are_mean_cross_entropy_of_normalised_images():
    task, pixels, labels = _task(augment=False)
    model = task.build_model()
    mean, std = np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.4])
    x = torch.tensor((pixels / 255 - mean[:, None, None]) / std[:, None, None], dtype=torch.float32)
    y = torch.tensor(labels)
    chosen = np.array([3, 7, 7, 29])
    model.requires_grad_(False)
    expected = cross_entropy(model(x[chosen]), y[chosen])
    assert torch.allclose(task.loss(model, chosen, torch.Generator()), expected, atol=1e-5)
    scores = model(x[30:])
    result = task.evaluate(model)
    assert result["loss"] == pytest.approx(float(cross_entropy(scores, y[30:])), abs=1e-5)
    assert result["accuracy"] == int((scores.argmax(1) == y[30:]).sum()) / 20


def test_only_training_is_augmented():
    task, *_ = _task(augment=True)
    plain, *_ = _task(augment=False)
    torch.manual_seed(0)
    model = task.build_model()
    assert task.evaluate(model) == plain.evaluate(model)
    chosen = np.arange(10)
    model.requires_grad_(False)
    losses = [float(task.loss(model, chosen, torch.Generator().manual_seed(s))) for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_models_mode(training):
    task, *_ = _task(augment=False)
    model = task.build_model().train(training)
    task.evaluate(model)
    assert model.training is training


def test_digits_are_split_the_same_every_time_and_learnt():
    task = create_task("digits", model="softmax")
    assert task.train_size == 1437
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(60):
        optimizer.zero_grad()
        task.loss(model, np.arange(1437), torch.Generator().manual_seed(step)).backward()
        optimizer.step()
    assert task.evaluate(model)["accuracy"] > 0.9
    assert create_task("digits", model="softmax").evaluate(model) == task.evaluate(model)


def test_a_flipped_task_trains_on_the_mirrored_labels_and_is_tested_on_the_true_ones():
    task, pixels, labels = _task(augment=False)
    model, chosen = task.build_model(), np.arange(30)
    flipped = task.flipped()
    mirrored = Classification(images_of(pixels, 9 - labels, False), MODELS["softmax"], torch.device("cpu"))
    loss = flipped.loss(model, chosen, torch.Generator())
    assert torch.equal(loss, mirrored.loss(model, chosen, torch.Generator()))
    assert torch.equal(flipped.flipped().loss(model, chosen, torch.Generator()), task.loss(model, chosen, None))
    assert flipped.evaluate(model) == task.evaluate(model)


def test_a_task_without_flipped_labels_says_so():
    class Bare(Task):
        build_model = loss = evaluate = None

    with pytest.raises(TaskError, match="label_flip: Bare has no method `flipped`"):
        Bare().flipped()
