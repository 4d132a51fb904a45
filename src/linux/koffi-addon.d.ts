declare module 'koffi-addon' {
  const base64: string
  export default base64
}
