// Decodes with the C API of TensorFlow Lite: link tensorflowlite_c.
//
//   decoder ../litert/decoder_float32.tflite ../golden/z.bin ../golden/x_mean.bin
//
// checks the file against the golden vectors and prints the largest error. A conditional model takes c as its second
// input. Not linked where this bundle was made.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensorflow/lite/c/c_api.h"

class Decoder {
 public:
  explicit Decoder(const char* path, int num_threads = 1) {
    model_ = TfLiteModelCreateFromFile(path);
    if (model_ == nullptr) throw std::runtime_error(std::string("cannot read ") + path);
    TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(options, num_threads);
    interpreter_ = TfLiteInterpreterCreate(model_, options);
    TfLiteInterpreterOptionsDelete(options);
    Check(interpreter_ == nullptr ? kTfLiteError : TfLiteInterpreterAllocateTensors(interpreter_), "allocating");
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() {
    TfLiteInterpreterDelete(interpreter_);
    TfLiteModelDelete(model_);
  }

  // How many floats a z and an x have.
  std::size_t latent_size() const { return Size(TfLiteInterpreterGetInputTensor(interpreter_, 0)); }
  std::size_t data_size() const { return Size(TfLiteInterpreterGetOutputTensor(interpreter_, 0)); }

  // E[x|z], row by row in the order of the data's axes, for one z.
  void Decode(const float* z, float* x) {
    TfLiteTensor* input = TfLiteInterpreterGetInputTensor(interpreter_, 0);
    Check(TfLiteTensorCopyFromBuffer(input, z, TfLiteTensorByteSize(input)), "setting z");
    Check(TfLiteInterpreterInvoke(interpreter_), "running");
    const TfLiteTensor* output = TfLiteInterpreterGetOutputTensor(interpreter_, 0);
    Check(TfLiteTensorCopyToBuffer(output, x, TfLiteTensorByteSize(output)), "getting x");
  }

 private:
  static std::size_t Size(const TfLiteTensor* tensor) { return TfLiteTensorByteSize(tensor) / sizeof(float); }
  static void Check(TfLiteStatus status, const char* what) {
    if (status != kTfLiteOk) throw std::runtime_error(std::string("failed while ") + what);
  }

  TfLiteModel* model_ = nullptr;
  TfLiteInterpreter* interpreter_ = nullptr;
};

static std::vector<float> ReadFloats(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.begin(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
  return values;
}

int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: decoder FILE.tflite z.bin x_mean.bin\n");
    return 2;
  }
  Decoder decoder(arguments[1]);
  const std::vector<float> z = ReadFloats(arguments[2]), expected = ReadFloats(arguments[3]);
  const std::size_t rows = z.size() / decoder.latent_size();
  std::vector<float> x(decoder.data_size());
  float error = 0.0f;
  for (std::size_t row = 0; row < rows; ++row) {
    decoder.Decode(&z[row * decoder.latent_size()], x.data());
    for (std::size_t i = 0; i < x.size(); ++i) error = std::max(error, std::fabs(x[i] - expected[row * x.size() + i]));
  }
  std::printf("%zu rows of %zu values, largest error %.1e\n", rows, x.size(), error);
  return 0;
}
