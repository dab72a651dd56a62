"""One network, fine-tuned on one task after another: it forgets."""

from packnet_tf.compare.plain import Plain


class Finetune(Plain):
    """Every task changes all of the network; heads are each task's own."""

    name = "finetune"
