// Decodes on iOS with TensorFlow Lite for Swift:  pod "TensorFlowLiteSwift"
// Add decoder_float32.tflite (or _float16, _int8) to the app's bundle. Check it with golden/z.bin and golden/x_mean.bin.
// Not compiled where this bundle was made.

import Foundation
import TensorFlowLite

final class Decoder {
    private let interpreter: Interpreter

    init(resource: String = "decoder_float32") throws {
        guard let path = Bundle.main.path(forResource: resource, ofType: "tflite") else {
            throw CocoaError(.fileNoSuchFile)
        }
        interpreter = try Interpreter(modelPath: path)
        try interpreter.allocateTensors()
    }

    /// E[x|z], row by row in the order of the data's axes, for one z. A conditional model takes c as its second input.
    func decode(_ z: [Float], condition c: [Float]? = nil) throws -> [Float] {
        for (index, values) in [z, c].compactMap({ $0 }).enumerated() {
            try interpreter.copy(values.withUnsafeBufferPointer { Data(buffer: $0) }, toInputAt: index)
        }
        try interpreter.invoke()
        return try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}
