#include "launch/surgery/operation.h"

namespace launch {

parallel::NameTable<Operation> builtin_operations() {
  return {"operation",
          {{"copy", copy_operation()},
           {"prune", prune_operation()},
           {"grow", grow_operation()},
           {"add_null", add_null_operation()},
           {"narrow", narrow_operation()},
           {"widen_vocabulary", widen_vocabulary_operation()},
           {"concatenate", concatenate_operation()},
           {"average", average_operation()}}};
}

}  // namespace launch
