import pytest
import torch

from detox.tasks import MODELS, TaskError


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("softmax", (1, 8, 8), 10, 650),
        ("mlp", (1, 8, 8), 10, 64 * 128 + 128 + 1290),
        ("lenet", (1, 28, 28), 10, 61_706),
        ("resnet8", (1, 28, 28), 10, 77_754),
        ("resnet18", (3, 32, 32), 10, 11_173_962),
        ("vgg13", (3, 32, 32), 10, 9_416_010),
        ("vgg13", (3, 32, 32), 100, 9_462_180),
    ],
)
def test_models_have_the_papers_sizes_and_score_every_class(name, shape, classes, parameters):
    model = MODELS[name](shape, classes)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize(("name", "shape"), [("lenet", (1, 8, 8)), ("vgg13", (1, 28, 28))])
def test_a_model_that_does_not_fit_the_images_says_so(name, shape):
    with pytest.raises(TaskError, match=f"model {name} needs images of"):
        MODELS[name](shape, 10)
