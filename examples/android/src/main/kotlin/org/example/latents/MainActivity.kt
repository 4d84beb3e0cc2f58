package org.example.latents

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.Color
import android.graphics.drawable.BitmapDrawable
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.SeekBar
import android.widget.TextView
import org.json.JSONObject
import kotlin.math.roundToInt

/** Sliders over z, drawn live. The files of the bundle lie in src/main/assets. */
class MainActivity : Activity() {
    private lateinit var decoder: Decoder
    private lateinit var sampler: Sampler
    private lateinit var latents: FloatArray
    private lateinit var shape: List<Int>
    private lateinit var image: ImageView
    private lateinit var speed: TextView
    private val sliders = mutableListOf<SeekBar>()
    private var seed = 0

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val manifest = JSONObject(assets.open("kvae_export.json").bufferedReader().use { it.readText() })
        latents = FloatArray(manifest.getJSONObject("model").getInt("latent_dim"))
        val sizes = manifest.getJSONObject("model").getJSONArray("data_shape")
        shape = List(sizes.length()) { sizes.getInt(it) }
        decoder = Decoder(assets, "decoder_int8.tflite")
        sampler = Sampler(assets, "vae_float32.tflite")
        setContentView(layout())
        decodeAndDraw()
    }

    override fun onDestroy() {
        decoder.close()
        sampler.close()
        super.onDestroy()
    }

    private fun layout(): ScrollView {
        image = ImageView(this).apply { adjustViewBounds = true }
        speed = TextView(this)
        val sample = Button(this).apply {
            text = "New sample"
            setOnClickListener { show(sampler.sample(++seed)) }
        }
        val column = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        listOf(image, speed, sample).forEach { column.addView(it) }
        latents.indices.forEach { column.addView(slider(it)) }
        return ScrollView(this).apply { addView(column) }
    }

    private fun slider(index: Int) = SeekBar(this).apply {
        max = STEPS
        progress = STEPS / 2
        sliders.add(this)
        setOnSeekBarChangeListener(object : SeekBar.OnSeekBarChangeListener {
            override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) {
                if (!fromUser) return
                latents[index] = REACH * (2f * progress / STEPS - 1f)
                decodeAndDraw()
            }

            override fun onStartTrackingTouch(bar: SeekBar) = Unit

            override fun onStopTrackingTouch(bar: SeekBar) = Unit
        })
    }

    private fun show(values: FloatArray) {
        latents = values
        sliders.forEachIndexed { index, slider -> slider.progress = (STEPS * (latents[index] / REACH + 1f) / 2f).roundToInt() }
        decodeAndDraw()
    }

    private fun decodeAndDraw() {
        val start = System.nanoTime()
        val mean = decoder.decode(latents)
        speed.text = "%.2f ms".format((System.nanoTime() - start) / 1e6)
        image.setImageDrawable(BitmapDrawable(resources, bitmap(mean)).apply { isFilterBitmap = false })
    }

    /** Of images [height, width] or [height, width, channels] with values in [0, 1]. */
    private fun bitmap(mean: FloatArray): Bitmap {
        val (height, width) = shape
        val channels = if (shape.size > 2) shape[2] else 1
        val colours = IntArray(height * width) { pixel ->
            val (red, green, blue) = List(3) { mean[pixel * channels + it % channels].coerceIn(0f, 1f) }
            Color.rgb((255 * red).roundToInt(), (255 * green).roundToInt(), (255 * blue).roundToInt())
        }
        return Bitmap.createBitmap(colours, width, height, Bitmap.Config.ARGB_8888)
    }

    private companion object {
        const val REACH = 3f
        const val STEPS = 600
    }
}
