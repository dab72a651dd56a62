"""A workdir that the tests make a stranger's of."""

import pytest
from support import tiny_nets

from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.versions import publish
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("untrusted") / "w")
    net = tiny_nets.packed_net(("a",))
    state = states.commit(workdir, net, probe_images=tiny_nets.images(2))
    publish(workdir, state, ServingConfig("net"))
    return workdir
