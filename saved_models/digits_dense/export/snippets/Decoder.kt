// Decodes on Android with LiteRT 2:  implementation("com.google.ai.edge.litert:litert:2.1.0") or later.
// Put decoder_float32.tflite (or _float16, _int8) into src/main/assets. Check it with golden/z.bin and golden/x_mean.bin.
// Not compiled where this bundle was made.

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

class Decoder(context: Context, asset: String = "decoder_float32.tflite") : AutoCloseable {
    private val model =
        CompiledModel.create(context.assets, asset, CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** E[x|z], row by row in the order of the data's axes, for one z. A conditional model takes c as its second input. */
    fun decode(z: FloatArray, c: FloatArray? = null): FloatArray {
        inputs[0].writeFloat(z)
        c?.let { inputs[1].writeFloat(it) }
        model.run(inputs, outputs)
        return outputs[0].readFloat()
    }

    override fun close() = model.close()
}
