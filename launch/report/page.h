// The page around the data: template, style, Chart.js and scripts in one HTML text.
// defines: Assets, embedded_assets, json_for_script, assemble_page
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace launch::run_report {

/// The files of this folder that the binary carries, and Chart.js.
struct Assets {
  std::string_view html, css, chart_js;
  std::string_view drawing_js, maps_js, timeline_js, page_js;
};

const Assets& embedded_assets();

/// JSON that may stand inside a <script> element: no "<" is left, and bytes that are not UTF-8 are replaced.
std::string json_for_script(const nlohmann::ordered_json& data);

/// Fills the template's {{...}} markers, each once; the text put in is not searched for markers.
std::string assemble_page(const Assets& assets, const nlohmann::ordered_json& data);

}  // namespace launch::run_report
