#include "moetrain/routers/router.h"
#include "moetrain/routers/top_k_router.h"

namespace moetrain {

parallel::NameTable<RouterMaker> builtin_routers() { return {"router", {{"top_k", &make_top_k_router}}}; }

}  // namespace moetrain
