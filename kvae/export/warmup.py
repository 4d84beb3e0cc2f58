"""Requests that TensorFlow Serving answers to itself before it answers to others."""

import numpy as np
import tensorflow as tf

from kvae.export.extras import available, require

PATH = "assets.extra/tf_serving_warmup_requests"


def write(folder, vectors, batch_sizes=(1, 8)):
    """Puts requests to decode into a SavedModel, one for each batch size; needs the extra `serving`.

    Args:
        folder: of the SavedModel.
        vectors: golden vectors, with z and, for a conditional model, c.
        batch_sizes: of the requests.

    Returns:
        bool, whether they were written: not without tensorflow-serving-api.
    """
    modules = "tensorflow_serving.apis.predict_pb2", "tensorflow_serving.apis.prediction_log_pb2"
    if not available(*modules):
        return False
    predict_pb2, prediction_log_pb2 = require("serving", *modules)
    path = folder / PATH
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in batch_sizes:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "vae"
            request.model_spec.signature_name = "decode"
            for name in ("z", "c"):
                if name in vectors:
                    rows = np.resize(vectors[name], (size, *vectors[name].shape[1:]))
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(rows))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return True
