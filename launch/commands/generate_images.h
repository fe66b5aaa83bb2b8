// defines: ImageArguments, generate_images: what `generate` makes of a diffusion model's run
#pragma once
#include <string>

#include "launch/models/trained_model.h"

namespace launch {

struct ImageArguments {
  std::string output;  // the PNG to write
  std::string wanted;  // a class by number or name; empty: each class
  int64_t count = 8;   // images of each
  moetrain::ImageSampling sampling;
};

/// Writes one picture, a row of images for each class. UserError for a class that there is not, and where the picture
/// cannot be written.
void generate_images(const TrainedModel& trained, const ImageArguments& arguments);

}  // namespace launch
