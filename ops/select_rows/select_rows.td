def Platen_SelectRowsOp : Platen_Op<"select_rows"> {
  let summary = "keeps the rows that the head is asked for";
  let arguments = (ins AnyTensor:$x, AnyTensor:$rows);
  let results = (outs AnyTensor:$result);
}
