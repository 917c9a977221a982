"""A batch shared by threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from coslide import networks
from coslide.training.loss import ClassBalancedFocalLoss
from coslide.training.module import parts_of, summed_loss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 3, 32, 32, generator=generator)
    return inputs, (torch.rand(5, 32, 32, generator=generator) < 0.2).long()


def gradients(batch, threads, *, precision="32"):
    torch.manual_seed(0)
    network = networks.create("egcn", 3, width=8)
    inputs, labels = batch
    loss = ClassBalancedFocalLoss()
    weighing = loss.weigh(labels)

    def of(part):
        return loss(network(inputs[part]), labels[part], weighing._replace(weights=weighing.weights[part]))

    if threads == 0:  # the whole batch at once, as torch would do it
        total = loss(network(inputs), labels)
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = [partial(of, part) for part in parts_of(network, len(inputs))]
            total = summed_loss(network, parts, pool, precision=precision)
    (2 * total).backward()
    return total.detach(), torch.cat([p.grad.flatten() for p in network.parameters()])


def test_parts_give_the_loss_and_the_gradients_of_the_whole_batch(batch):
    torch.testing.assert_close(gradients(batch, 2), gradients(batch, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threads", [2, 3])
def test_sums_are_made_in_one_order_whatever_the_number_of_threads(batch, threads):
    one, several = gradients(batch, 1), gradients(batch, threads)
    assert torch.equal(one[0], several[0])
    assert torch.equal(one[1], several[1])


def test_every_thread_computes_in_the_wanted_precision(batch):
    single, half = gradients(batch, 2), gradients(batch, 2, precision="bf16")
    assert not torch.equal(single[1], half[1])
    assert torch.nn.functional.cosine_similarity(single[1], half[1], dim=0) > 0.98


def test_a_network_that_normalises_over_the_batch_takes_it_whole():
    assert parts_of(networks.create("unet", 3, width=8), 5) == [slice(0, 5)]


def test_an_error_in_a_thread_is_raised_as_it_is(batch):
    def fails():
        raise ValueError("as it is")

    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="as it is"):
        summed_loss(networks.create("egcn", 3, width=8), [fails, fails], pool, precision="32")
