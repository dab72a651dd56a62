from packnet_tf.layers import MaskedDepthwiseConv2D


def test_is_not_pruned_unless_asked():
    layer = MaskedDepthwiseConv2D(3)
    layer.build((None, 8, 8, 4))
    assert layer.prunable is False
    assert "prunable" not in layer.get_config()
    asked = MaskedDepthwiseConv2D(3, prunable=True)
    asked.build((None, 8, 8, 4))
    assert asked.masked_kernels()[0].prunable
    assert asked.get_config()["prunable"] is True
