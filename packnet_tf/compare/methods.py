"""The methods of a comparison, by name."""

from packnet_tf.compare.classifier_only import ClassifierOnly
from packnet_tf.compare.delta import Delta
from packnet_tf.compare.ewc import ElasticWeightConsolidation
from packnet_tf.compare.finetune import Finetune
from packnet_tf.compare.individual import Individual
from packnet_tf.compare.joint import Joint
from packnet_tf.compare.lora import Lora
from packnet_tf.compare.lwf import LearningWithoutForgetting
from packnet_tf.compare.method import Method
from packnet_tf.compare.packnet import PackNetMethod
from packnet_tf.compare.piggyback import Piggyback
from packnet_tf.compare.private_only import PrivateOnly

_ALL: tuple[type[Method], ...] = (
    PackNetMethod,
    Individual,
    ClassifierOnly,
    PrivateOnly,
    Joint,
    Finetune,
    LearningWithoutForgetting,
    ElasticWeightConsolidation,
    Piggyback,
    Lora,
    Delta,
)
METHODS = {method.name: method for method in _ALL}
