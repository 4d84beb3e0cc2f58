// Decodes on Android with LiteRT 2:  implementation("com.google.ai.edge.litert:litert:2.1.0") or later.
// Put decoder_float32.tflite (or _float16, _int8) into src/main/assets. Check it with golden/z.bin and golden/x_mean.bin.
// Not compiled where this bundle was made.

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

class Decoder(context: Context, asset: String = "decoder_float32.tflite") : AutoCloseable {
    private val model = CompiledModel.create(context.assets, asset, CompiledModel.Options(Accelerator.CPU))
    private val z = model.createInputBuffer("z", "decode")
    private val mean = model.createOutputBuffer("x_mean", "decode")

    /**
     * E[x|z] in the order of the data's axes, for one z. For a conditional model make a buffer for "c" in the same way and
     * give both in the first map.
     */
    fun decode(values: FloatArray): FloatArray {
        z.writeFloat(values)
        model.run(mapOf("z" to z), mapOf("x_mean" to mean), "decode")
        return mean.readFloat()
    }

    override fun close() = listOf(z, mean, model).forEach { it.close() }
}
