"""A classifier on the features of the pretrained network, for each task."""

from packnet_tf.compare.plain import Plain


class ClassifierOnly(Plain):
    """Only the heads are trained; the network stays as it came."""

    name = "classifier_only"
    frozen = True

    def share(self, frozen: bool) -> None:
        """Freezes the network; normalization uses moving statistics then."""
        self.backbone.trainable = not frozen
