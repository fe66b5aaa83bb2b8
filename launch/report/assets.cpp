// Carries the page's files in the binary. CMake gives CHART_JS_PATH and REPORT_FOLDER (this folder), and makes the
// object depend on the files, which a compiler's dependency output does not name.
#include "launch/report/page.h"

// clang-format off
asm(".pushsection .rodata\n"
".global report_html_begin, report_html_end, report_css_begin, report_css_end, report_chart_begin, report_chart_end\n"
".global report_drawing_begin, report_drawing_end, report_maps_begin, report_maps_end\n"
".global report_timeline_begin, report_timeline_end\n"
".global report_page_begin, report_page_end\n"
".hidden report_html_begin, report_html_end, report_css_begin, report_css_end, report_chart_begin, report_chart_end\n"
".hidden report_drawing_begin, report_drawing_end, report_maps_begin, report_maps_end\n"
".hidden report_timeline_begin, report_timeline_end\n"
".hidden report_page_begin, report_page_end\n"
"report_html_begin:    .incbin \"" REPORT_FOLDER "/page.html\"\n"  "report_html_end:\n"
"report_css_begin:     .incbin \"" REPORT_FOLDER "/page.css\"\n"   "report_css_end:\n"
"report_chart_begin:   .incbin \"" CHART_JS_PATH "\"\n"            "report_chart_end:\n"
"report_drawing_begin: .incbin \"" REPORT_FOLDER "/drawing.js\"\n" "report_drawing_end:\n"
"report_maps_begin:    .incbin \"" REPORT_FOLDER "/maps.js\"\n"    "report_maps_end:\n"
"report_timeline_begin: .incbin \"" REPORT_FOLDER "/timeline.js\"\n" "report_timeline_end:\n"
"report_page_begin:    .incbin \"" REPORT_FOLDER "/page.js\"\n"    "report_page_end:\n"
".popsection\n");
// clang-format on

extern "C" {
extern const char report_html_begin[], report_html_end[], report_css_begin[], report_css_end[];
extern const char report_chart_begin[], report_chart_end[], report_drawing_begin[], report_drawing_end[];
extern const char report_maps_begin[], report_maps_end[], report_page_begin[], report_page_end[];
extern const char report_timeline_begin[], report_timeline_end[];
}

namespace launch::run_report {
namespace {

std::string_view between(const char* begin, const char* end) { return {begin, static_cast<size_t>(end - begin)}; }

}  // namespace

const Assets& embedded_assets() {
  static const Assets kAssets{.html = between(report_html_begin, report_html_end),
                              .css = between(report_css_begin, report_css_end),
                              .chart_js = between(report_chart_begin, report_chart_end),
                              .drawing_js = between(report_drawing_begin, report_drawing_end),
                              .maps_js = between(report_maps_begin, report_maps_end),
                              .timeline_js = between(report_timeline_begin, report_timeline_end),
                              .page_js = between(report_page_begin, report_page_end)};
  return kAssets;
}

}  // namespace launch::run_report
