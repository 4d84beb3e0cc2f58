package org.example.latents

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** The function `decode` of a file of the bundle. */
class Decoder(assets: AssetManager, file: String) : AutoCloseable {
    private val model = CompiledModel.create(assets, file, CompiledModel.Options(Accelerator.CPU))
    private val z = model.createInputBuffer("z", "decode")
    private val mean = model.createOutputBuffer("x_mean", "decode")

    /** E[x|z], in the order of the data's axes. */
    fun decode(values: FloatArray): FloatArray {
        z.writeFloat(values)
        model.run(mapOf("z" to z), mapOf("x_mean" to mean), "decode")
        return mean.readFloat()
    }

    override fun close() = listOf(z, mean, model).forEach { it.close() }
}

/** The function `sample` of `vae_float32.tflite`: the draws of `vae.sample(n, seed)`. */
class Sampler(assets: AssetManager, file: String) : AutoCloseable {
    private val model = CompiledModel.create(assets, file, CompiledModel.Options(Accelerator.CPU))
    private val seed = model.createInputBuffer("seed", "sample")
    private val stream = model.createInputBuffer("stream", "sample")
    private val z = model.createOutputBuffer("z", "sample")
    private val mean = model.createOutputBuffer("x_mean", "sample")

    /** The z of row `row`. */
    fun sample(value: Int, row: Int = 0): FloatArray {
        seed.writeInt(intArrayOf(value))
        stream.writeInt(intArrayOf(row))
        model.run(mapOf("seed" to seed, "stream" to stream), mapOf("z" to z, "x_mean" to mean), "sample")
        return z.readFloat()
    }

    override fun close() = listOf(seed, stream, z, mean, model).forEach { it.close() }
}
