"""Data parallelism, which Keras has on JAX: every device trains on its share of each batch."""

from typing import Any

import keras

from core_torch.spec.errors import check_choice


class DataParallel(keras.distribution.DataParallel):
    """Keras's, but a batch that the devices cannot share equally goes to each of them whole."""

    def get_data_layout(self, data_shape: Any) -> Any:
        """Of a batch of that shape."""
        layout = super().get_data_layout(data_shape)
        if data_shape[0] % self.num_model_replicas == 0:
            return layout
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def use_data_parallel() -> int:
    """Share the batches of models built from now on among all devices; how many there are.

    The updates are those of one device within rounding. Virtual devices for a trial on a CPU:
    XLA_FLAGS=--xla_force_host_platform_device_count=2.

    Raises:
        ConfigError: the backend is not JAX.
    """
    check_choice("KERAS_BACKEND", keras.backend.backend(), ("jax",))
    distribution = DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    return int(distribution.num_model_replicas)
