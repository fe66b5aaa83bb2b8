#include "launch/report/page.h"

#include <array>
#include <utility>

#include "parallel/base/fault.h"

namespace launch::run_report {

std::string json_for_script(const nlohmann::ordered_json& data) {
  std::string escaped;
  for (const char c : data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)) {
    if (c == '<') {
      escaped += "\\u003c";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string assemble_page(const Assets& assets, const nlohmann::ordered_json& data) {
  const std::string json = json_for_script(data);
  const std::array<std::pair<std::string_view, std::string_view>, 7> fillings{{{"{{css}}", assets.css},
                                                                               {"{{data}}", json},
                                                                               {"{{chart_js}}", assets.chart_js},
                                                                               {"{{drawing_js}}", assets.drawing_js},
                                                                               {"{{maps_js}}", assets.maps_js},
                                                                               {"{{timeline_js}}", assets.timeline_js},
                                                                               {"{{page_js}}", assets.page_js}}};
  std::string page;
  std::string_view rest = assets.html;
  for (const auto& [marker, filling] : fillings) {
    const size_t place = rest.find(marker);
    parallel::check_internal(place != std::string_view::npos, "page.html has no ", marker, " in its place");
    page.append(rest.substr(0, place)).append(filling);
    rest.remove_prefix(place + marker.size());
  }
  return page.append(rest);
}

}  // namespace launch::run_report
